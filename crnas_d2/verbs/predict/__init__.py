"""Detect objects in images, folders and videos with a trained network.

Images that cannot be used are named and skipped; then the exit status is 1.
"""

import argparse
import sys

from crnas_d2.runs.loaded_network import network_config
from crnas_d2.verbs.arguments import add_overwrite, add_trained_network

from .job import run_prediction


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("inputs", nargs="+", metavar="INPUT", help="image, folder of images, or video")
    text = "for pictures/, predictions.json (COCO results) and images.json"
    add("--output", required=True, metavar="FOLDER", help=text)
    text = (
        "leave out detections below it; default: %(default)s. 0 keeps all that the network gives, "
        "e.g. to compute AP"
    )
    add("--score-threshold", type=float, default=0.5, metavar="SCORE", help=text)
    add("--no-pictures", action="store_true", help="write the JSON files only")
    add_overwrite(parser, "earlier predictions")
    add_trained_network(parser)


def run(args: argparse.Namespace) -> None:
    cfg = network_config(args.run, args.config_file, args.opts, args.device or "")
    prediction = run_prediction(
        cfg,
        args.inputs,
        args.output,
        folder=args.run,
        score_threshold=args.score_threshold,
        with_pictures=not args.no_pictures,
        overwrite=args.overwrite,
    )
    found = f"{len(prediction.results)} detections in {len(prediction.images)} images"
    skipped = f", {len(prediction.skipped)} skipped" if prediction.skipped else ""
    print(f"{found}{skipped}: {args.output}")
    if prediction.skipped:
        sys.exit(1)
