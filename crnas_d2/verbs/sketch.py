"""Draw the blocks, operations and dilations of networks, as PNG or SVG.

A square is a block; its colour and its number are those of its operation, e.g. its dilation. Of a
network with decoded channels, a bar for each convolution has the shares of the dilations.
"""

import argparse

from crnas_d2.common.files import check_new_file
from crnas_d2.report import draw_networks, write_figure
from crnas_d2.runs.named_genotype import NamedGenotype, find_genotype
from crnas_d2.verbs.arguments import add_overwrite, add_plugins

_FORMATS = (".png", ".svg")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    text = (
        "a published network (CR-NAS/CR-R50), a genotype.yaml or config, or the folder of a "
        "search, training or export"
    )
    parser.add_argument("networks", nargs="+", metavar="[NAME=]NETWORK", help=text)
    text = "the picture to write: .png or .svg"
    parser.add_argument("--output", required=True, metavar="FILE", help=text)
    add_overwrite(parser)
    add_plugins(parser)


def run(args: argparse.Namespace) -> None:
    output = check_new_file(args.output, _FORMATS, overwrite=args.overwrite)
    networks: dict[str, NamedGenotype] = {}
    for text in args.networks:
        network = find_genotype(text)
        if network.name in networks:
            raise ValueError(
                f"Two networks have the name {network.name}: name one of them, NAME={text}."
            )
        networks[network.name] = network
    write_figure(draw_networks(list(networks.values())), output)
    print(output)
