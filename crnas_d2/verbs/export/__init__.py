"""Write a trained network as a folder that stands alone, and as ONNX.

The folder has config.yaml, model.pth, classes.json, genotype.yaml and provenance.json. Its config
is one of plain Detectron2 where that is possible; provenance.json says what it needs.
"""

import argparse

from tabulate import tabulate

from crnas_d2.config import spell
from crnas_d2.runs.trained_network import network_config
from crnas_d2.verbs.arguments import add_network_arguments

from .folder import run_export
from .graphs import FORMATS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", required=True, metavar="FOLDER", help="the folder to write")
    parser.add_argument(
        "--formats",
        nargs="+",
        choices=list(FORMATS),
        default=[],
        help="of body and neck, in addition; each is compared with the network",
    )
    parser.add_argument(
        "--input-size",
        nargs=2,
        type=_pixels,
        metavar=("HEIGHT", "WIDTH"),
        help="of the formats' example and of the latency; default: SEARCH.COST_INPUT_SIZE",
    )
    parser.add_argument(
        "--baseline",
        metavar="FOLDER",
        help="another run or exported folder: measures the latency of both, in all formats",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an exported folder")
    add_network_arguments(parser)


def _pixels(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number of pixels")
    return int(text)


def run(args: argparse.Namespace) -> None:
    cfg = network_config(args.run, args.config_file, args.opts, args.device or "")
    export = run_export(
        cfg,
        args.output,
        folder=args.run,
        formats=list(dict.fromkeys(args.formats)),
        input_size=args.input_size,
        baseline=args.baseline,
        command=spell("export", *args.arguments),
        overwrite=args.overwrite,
    )
    print(f"{args.output}: config.yaml needs {export.needs}. {export.why}".strip())
    for name, difference in export.differences.items():
        print(f"{FORMATS[name].file}: differs from the network by at most {difference:.1g}")
    if export.latencies:
        print(
            "\nBody and neck, milliseconds for one image on the CPU (medians of alternating runs)"
        )
        rows = [
            [name, both["baseline"], both["exported"], both["exported"] / both["baseline"]]
            for name, both in export.latencies.items()
        ]
        print(tabulate(rows, headers=["", "baseline", "exported", "ratio"], floatfmt=".2f"))
