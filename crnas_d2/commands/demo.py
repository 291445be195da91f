"""Run a whole search on embedded data: letters, crnas, detnas or nats.

letters  which blocks does a trained detector need? The same AP at two thirds of the cost
crnas    both levels of CR-NAS from scratch: blocks per stage, then a dilation for each block
detnas   evolution on a ShuffleNetV2 supernet, against random networks
nats     a dilation for each channel group, by gradient

The steps are the verbs that a user would call. A second call resumes where the first stopped.
"""

import argparse
from importlib import import_module
from pathlib import Path

STOPPED = "Stopped; the same command resumes."
_FOLDERS = {
    "letters": "demo",
    "crnas": "demo-crnas",
    "detnas": "demo-detnas",
    "nats": "demo-nats",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name", nargs="?", default="letters", choices=_FOLDERS, help="default: letters"
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="default: output/demo, output/demo-crnas, ..."
    )
    parser.add_argument("--seed", type=int, help="letters: the seed of all steps (default: 1)")
    parser.add_argument(
        "--pretrain",
        action="store_true",
        help="crnas: pretrain the supernet as a classifier of digits",
    )


def run(args: argparse.Namespace) -> None:
    if args.seed is not None and args.name != "letters":
        args.refuse(f"--seed goes with letters, not with {args.name}")
    if args.pretrain and args.name != "crnas":
        args.refuse(f"--pretrain goes with crnas, not with {args.name}")
    args.seed = 1 if args.seed is None else args.seed
    args.output = args.output or Path("output", _FOLDERS[args.name])
    if args.output.exists():
        print(f"Resuming the run in {args.output}; remove that folder to start over.")
    import_module(f"crnas_d2.commands.demos.{args.name}").run(args)
