"""Run a whole search on embedded data: letters, crnas, detnas or nats.

letters  which blocks does a trained detector need? The same AP at two thirds of the cost
crnas    both levels of CR-NAS: the blocks of a trained detector, then a dilation for each block
detnas   the kernels of a ShuffleNetV2 from scratch, by evolution, against a wider one
nats     a dilation for each channel group of a trained detector, by gradient

The steps are the verbs that a user would call. A second call resumes where the first stopped.
"""

import argparse
import time
from pathlib import Path

STOPPED = "Stopped; the same command resumes."
_FOLDERS = {"letters": "demo", **{n: f"demo-{n}" for n in ("crnas", "detnas", "nats")}}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("name", nargs="?", default="letters", choices=_FOLDERS, help="default: letters")
    text = "default: output/demo, output/demo-crnas, ..."
    add("--output", type=Path, metavar="DIR", help=text)
    add("--seed", type=int, default=1, help="of all steps (default: 1)")


def run(args: argparse.Namespace) -> None:
    from . import demos
    from .steps import Demo

    output = args.output or Path("output", _FOLDERS[args.name])
    if output.exists():
        print(f"Resuming the run in {output}; remove that folder to start over.")
    start = time.perf_counter()
    getattr(demos, args.name)(Demo(output.resolve(), args.seed))
    print(f"\nDone in {(time.perf_counter() - start) / 60:.1f} minutes.")
