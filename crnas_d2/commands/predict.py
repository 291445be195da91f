"""Detect objects in images, folders and videos with a trained network."""

import argparse

from crnas_d2.jobs import network_config, run_prediction

__all__ = ["add_arguments", "add_network_arguments", "run"]


def add_network_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that name a trained network."""
    parser.add_argument(
        "--run",
        metavar="FOLDER",
        help="OUTPUT_DIR of a finished training, or a folder that export has written",
    )
    parser.add_argument(
        "--config-file", metavar="FILE", help="instead of --run; the weights are MODEL.WEIGHTS"
    )
    parser.add_argument("--device", metavar="DEVICE", help="cpu or cuda; default: the config's")
    parser.add_argument(
        "--opts",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="KEY VALUE",
        help="overrides of the config, at the end, e.g. --opts MODEL.WEIGHTS model_0000499.pth",
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "inputs", nargs="+", metavar="INPUT", help="image, folder of images, or video"
    )
    parser.add_argument(
        "--output",
        required=True,
        metavar="FOLDER",
        help="for pictures/, predictions.json (COCO results) and images.json",
    )
    parser.add_argument(
        "--score-threshold",
        type=float,
        default=0.5,
        metavar="SCORE",
        help="leave out detections below it; default: %(default)s. 0 keeps all that the network "
        "gives, e.g. to compute AP",
    )
    parser.add_argument("--no-pictures", action="store_true", help="write the JSON files only")
    parser.add_argument("--overwrite", action="store_true", help="replace earlier predictions")
    add_network_arguments(parser)


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
    print(
        f"{len(prediction.results)} detections in {len(prediction.images)} images"
        + (f", {len(prediction.skipped)} skipped" if prediction.skipped else "")
        + f": {args.output}"
    )
