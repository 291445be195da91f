"""Write a trained network as a folder that stands alone, and as ONNX.

The folder has config.yaml, model.pth, classes.json, genotype.yaml, provenance.json, and README.md
for people. Its config is one of plain Detectron2 where that is possible; provenance.json says what
it needs.
"""

import argparse

from tabulate import tabulate

from crnas_d2.config import spell
from crnas_d2.runs.loaded_network import network_config
from crnas_d2.search import public_arguments
from crnas_d2.verbs.arguments import add_input_size, add_overwrite, add_trained_network

from .folder import run_export
from .formats import FORMATS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", required=True, metavar="FOLDER", help="the folder to write")
    text = "of body and neck, in addition; each is compared with the network"
    parser.add_argument("--formats", nargs="+", choices=list(FORMATS), default=[], help=text)
    add_input_size(parser, "the formats' example and of the latency")
    text = "another run or exported folder: measures the latency of both, in all formats"
    parser.add_argument("--baseline", metavar="FOLDER", help=text)
    add_overwrite(parser, "an exported folder")
    add_trained_network(parser)


def run(args: argparse.Namespace) -> None:
    cfg = network_config(args.run, args.config_file, args.opts, args.device or "")
    export = run_export(
        cfg,
        args.output,
        folder=args.run,
        formats=list(dict.fromkeys(args.formats)),
        input_size=args.input_size,
        baseline=args.baseline,
        command=spell("export", *public_arguments(args.arguments)),
        overwrite=args.overwrite,
    )
    print(f"{args.output}: config.yaml needs {export.needs}. {export.why}".strip())
    for name, difference in export.differences.items():
        print(f"{FORMATS[name].file}: differs from the network by at most {difference:.1g}")
    if export.latencies:
        how = "milliseconds for one image on the CPU (medians of alternating runs)"
        print(f"\nBody and neck, {how}")
        pairs = [(name, x["baseline"], x["exported"]) for name, x in export.latencies.items()]
        rows = [[name, baseline, ours, ours / baseline] for name, baseline, ours in pairs]
        print(tabulate(rows, headers=["", "baseline", "exported", "ratio"], floatfmt=".2f"))
