#!/usr/bin/env python
"""Is a search worth its minutes? Trains what one would do instead, at the same MACs.

Each row is trained in each fold of a dataset that ``crnas-d2 prepare --folds`` has split; all start
from the fold's detector and are fine-tuned alike. What is done is not run again, and what was
stopped goes on. ``crnas-d2 compare`` then pools the folds.

The rows ``pruned-*`` need Torch-Pruning, ``pip install torch-pruning==1.6.1``; commands that read
their runs need ``--plugins tools.rivals.pruned_family``.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # this checkout, installed or not

from crnas_d2.common.errors import one_line_errors
from tools.rivals.rows import ROWS, Fold


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    text = "prepared by `crnas-d2 prepare --folds`, e.g. data/cells/fold1"
    parser.add_argument("folds", nargs="+", type=Path, metavar="FOLD", help=text)
    text = "default: all; names: %(choices)s"
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), help=text)
    text = "of the MACs of the detector's body, that rivals may have; default: %(default)s"
    parser.add_argument("--share", type=float, default=0.65, help=text)
    text = "of everything; the results of another one than the chain's have folders of their own"
    parser.add_argument("--seed", type=int, default=1, help=text)
    text = "overrides of all trainings"
    parser.add_argument("--opts", nargs="+", default=[], metavar="KEY VALUE", help=text)
    args = parser.parse_args()
    if len(args.opts) % 2:
        parser.error("--opts takes pairs KEY VALUE")
    return args


def main() -> None:
    args = parse_arguments()
    opts = list(zip(args.opts[::2], args.opts[1::2], strict=True))
    for folder in args.folds:
        fold = Fold(folder, args.share, args.seed, opts)
        for row in args.rows:
            print(f"{folder}: {row}", flush=True)
            ROWS[row](fold)


if __name__ == "__main__":
    with one_line_errors(__file__):
        main()
