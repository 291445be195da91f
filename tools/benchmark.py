#!/usr/bin/env python
"""Measure the overhead over plain Detectron2: ``benchmark.py NAME [NAME ...|all]``.

A benchmark compares two sides, ours first. They run alternately (A B, B A, A B, ...) after a
warm-up, so that a slow phase of the machine affects both. The output is a table with one row per
side and one for their ratio. Its last line is a JSON object with ``name``, ``ratio``, ``goal`` and
the medians of the two sides, named as in the table and ending in their unit.

``ratio`` is the median over the pairs of runs, ours / theirs. Both runs of a pair see the same
machine, which makes it steadier than the quotient of the two medians; the two may differ a little.
If the goal is between its quartiles, the machine was too busy to tell: free it, raise
``--repeats``, or set ``OMP_NUM_THREADS=1`` on a shared CPU. A benchmark with several cases prints a
table of each, and its last line is that of the case with the highest ratio.

``gpu`` and ``study-step`` compare no two sides. The first is a table of what training and
candidates take on a GPU, on images of ``--size``, the second of what a search takes per candidate
without its evaluation; ``all`` leaves both out where there is no GPU.

The exit status is 0 if every ratio is at most its goal, else 1. A ``goal`` of null means no goal.
"""

import argparse
import json
import math
import sys
from pathlib import Path

import numpy as np
from tabulate import tabulate
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # this checkout, installed or not

from tools.benchmarks import BENCHMARKS, Benchmark, Table


def run(name: str, repeats: int | None, device: str, size: tuple[int, int] | None = None) -> bool:
    """Measure one benchmark and print its result; return whether the goal is met."""
    this: Benchmark | Table = BENCHMARKS[name]
    repeats = repeats or this.repeats
    if isinstance(this, Table):
        rows, figures = this.make(device, repeats, size)
        print(f"{name}: {this.summary} {repeats} repetitions, {device}, {figures['size']}.")
        print(tabulate(rows, headers="keys", floatfmt=".1f", missingval="-"))
        print(json.dumps({"name": name, "goal": this.goal, **figures}), flush=True)
        return True
    made = this.make(device)
    cases = made if isinstance(made, dict) else {"": made}
    measured = {
        case: measure(sides, repeats, this.warm_up, f"{name} {case}".strip())
        for case, sides in cases.items()
    }
    print(f"{name}: {this.summary} {repeats} pairs, {device}.")
    results = {}
    for case, values in measured.items():
        columns = [*values.T, values[:, 0] / values[:, 1]]
        quartiles = [[float(q) for q in np.percentile(column, [25, 50, 75])] for column in columns]
        results[case] = [median for _, median, _ in quartiles]
        notes = ("", "", f"  {verdict(results[case][-1], this.goal)}")
        print(f"{case:20}{'lower quartile':>16}{'median':>16}{'upper quartile':>16}")
        for key, row, note in zip((*this.keys, "ratio"), quartiles, notes, strict=True):
            print(f"{key:20}" + "".join(f"{value:16.4f}" for value in row) + note)
    # A ratio that is NaN counts as the worst.
    ours, theirs, ratio = max(
        results.values(), key=lambda result: (math.isnan(result[-1]), result[-1])
    )
    figures = {this.keys[0]: ours, this.keys[1]: theirs}
    print(json.dumps({"name": name, "ratio": ratio, "goal": this.goal, **figures}), flush=True)
    return meets(ratio, this.goal)


def measure(sides: tuple, repeats: int, warm_up: int, title: str) -> np.ndarray:
    """Measure the two sides pair by pair, ``(repeats, 2)``."""
    measured = np.empty((repeats, 2))
    for pair in tqdm(range(-warm_up, repeats), desc=title, unit="pair"):
        for side in (0, 1) if pair % 2 == 0 else (1, 0):
            value = sides[side]()
            if pair >= 0:
                measured[pair, side] = value
    return measured


def meets(ratio: float, goal: float | None) -> bool:
    return goal is None or ratio <= goal


def verdict(ratio: float, goal: float | None) -> str:
    if goal is None:
        return "no goal"
    return f"goal <= {goal:g}: {'met' if meets(ratio, goal) else 'MISSED'}"


def default_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def check_device(name: str) -> None:
    import torch

    from crnas_d2.config.values import check_device

    check_device("--device", name)
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"--device is {name}, but there is no GPU; use cpu.")


def image_size(text: str) -> tuple[int, int]:
    height, x, width = text.partition("x")
    if not (x and height.isdecimal() and width.isdecimal() and min(int(height), int(width)) > 0):
        raise ValueError(f"--size is {text}; expected HEIGHTxWIDTH in pixels, e.g. 800x1333.")
    return int(height), int(width)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="a benchmark, or: all")
    parser.add_argument("--repeats", type=int, help="pairs of runs (default: each one's own)")
    parser.add_argument("--device", help="default: cuda where there is a GPU, else cpu")
    parser.add_argument("--size", help="HEIGHTxWIDTH of the images of gpu, e.g. 800x1333")
    parser.add_argument("--list", action="store_true", help="list the benchmarks and exit")
    args = parser.parse_args(arguments)
    if args.list:
        for name, this in BENCHMARKS.items():
            goal = "no goal" if this.goal is None else f"goal {this.goal:g}"
            print(f"{name:18} {goal:10} {this.summary}")
        return 0
    known = ", ".join([*BENCHMARKS, "all"])
    if not args.names:
        parser.error(f"name a benchmark: {known}")
    for name in args.names:
        if name not in BENCHMARKS and name != "all":
            parser.error(f"unknown benchmark '{name}'; known: {known}")
    if args.repeats is not None and args.repeats < 1:
        parser.error(f"--repeats is {args.repeats}; expected at least 1")
    from crnas_d2.common.errors import one_line_errors

    device = args.device or default_device()
    names = args.names
    if "all" in names:
        on_gpu = device.startswith("cuda")
        names = [n for n, this in BENCHMARKS.items() if on_gpu or not isinstance(this, Table)]
    with one_line_errors(__file__):
        check_device(device)
        size = None if args.size is None else image_size(args.size)
        met = [run(name, args.repeats, device, size) for name in names]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
