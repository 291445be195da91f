"""Arguments that several verbs have."""

import argparse


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
