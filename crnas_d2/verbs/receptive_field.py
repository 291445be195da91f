"""Draw effective receptive fields side by side, with a size for each.

The gradient of a feature in the middle of an image with respect to the pixels, averaged over
images, for p3 to p5 and res3 to res5, with the anchors of each level, and a size: the side of the
square that holds 95 % of its energy. Any trained network works, also one of plain Detectron2.
"""

import argparse
from pathlib import Path

from detectron2.config import CfgNode
from tabulate import tabulate

from crnas_d2.common.files import check_new_file
from crnas_d2.report import (
    FIELDS_EXPLAINED,
    Page,
    add_fields,
    draw_fields,
    field_table,
    write_figure,
)
from crnas_d2.runs.loaded_network import network_config
from crnas_d2.runs.named_genotype import split_name
from crnas_d2.runs.receptive_fields import field_images, measure_fields
from crnas_d2.verbs.arguments import (
    add_device,
    add_overrides,
    add_overwrite,
    add_plugins,
    positive_int,
)

_FORMATS = (".html", ".png", ".svg")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    text = (
        "OUTPUT_DIR of a finished training, a folder that export has written, or a config whose "
        "MODEL.WEIGHTS are those to measure"
    )
    add("networks", nargs="+", metavar="[NAME=]NETWORK", help=text)
    text = "to write: .html (a page), .png or .svg"
    add("--output", required=True, metavar="FILE", help=text)
    text = "images and folders; default: the test set of the first network"
    add("--images", nargs="+", default=[], metavar="PATH", help=text)
    text = "at most; default: %(default)s"
    add("--num-images", type=positive_int, default=32, metavar="N", help=text)
    text = "maps of neck or body; default: p3 to p5 and res3 to res5, where there are any"
    add("--features", nargs="+", default=[], metavar="NAME", help=text)
    add_overwrite(parser)
    add_plugins(parser)
    add_device(parser)
    add_overrides(parser, "all configs", "INPUT.MIN_SIZE_TEST 512")


def run(args: argparse.Namespace) -> None:
    output = check_new_file(args.output, _FORMATS, overwrite=args.overwrite)
    networks = load_configs(args)
    images = field_images(next(iter(networks.values())), args.images, args.num_images)
    fields = measure_fields(networks, images, args.features)
    if output.suffix.lower() == ".html":
        page = Page("Effective receptive fields")
        add_fields(page, fields)
        page.write(output)
    else:
        write_figure(draw_fields(fields), output)
    head, rows = field_table(fields)
    print(tabulate(rows, headers=head, disable_numparse=True), FIELDS_EXPLAINED, sep="\n\n")
    print(output)


def load_configs(args: argparse.Namespace) -> dict[str, CfgNode]:
    networks: dict[str, CfgNode] = {}
    for text in args.networks:
        name, source = split_name(text)
        path = Path(source)
        is_file = path.suffix in (".yaml", ".yml")
        name = name or (path.stem if is_file else path.resolve().name)
        if name in networks:
            raise ValueError(f"Two networks have the name {name}: name one of them, NAME={text}.")
        folder, file = (None, source) if is_file else (source, None)
        networks[name] = network_config(folder, file, args.opts, args.device or "")
    return networks
