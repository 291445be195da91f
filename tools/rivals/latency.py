#!/usr/bin/env python
"""Measure the detectors of ``rivals.py``: the CPU time of body and whole detector for one image.

One thread; its CPU time is the latency on a machine that does nothing else. The networks run in
turns, in a new order each time, on the same images in each fold. Networks of equal structure are
measured once. The medians are written to latency.json beside the folds, for ``table.py``.
"""

import argparse
import json
import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # this checkout, installed or not

import torch

from crnas_d2.common.errors import invalid, one_line_errors
from crnas_d2.common.files import write_file
from crnas_d2.cost.detector_cost import find_body
from crnas_d2.cost.latency import device_name
from crnas_d2.data import build_test_loader
from crnas_d2.runs.loaded_network import load_network, network_config
from crnas_d2.runs.run import Run
from tools.rivals.results import LATENCY, Row, read_rows

_WARM_UP = 2  # turns, in which memory is allocated and kernels are chosen


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    text = "the folds that rivals.py has run, e.g. data/cells/fold*"
    parser.add_argument("folds", nargs="+", type=Path, metavar="FOLD", help=text)
    parser.add_argument("--shares", nargs="+", type=float, default=[0.65], help="of rivals.py")
    text = "turns of all networks, an image each; default: %(default)s"
    parser.add_argument("--repeats", type=int, default=40, help=text)
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    if args.repeats < 1:
        raise invalid("--repeats", args.repeats, "1 or more")
    torch.set_num_threads(1)
    rows = [row for row in read_rows(sorted(args.folds), args.shares) if isinstance(row, Row)]
    runs = [run for row in rows for each in row.trainings.values() for run in each.runs]
    equal: dict[Any, list[Run]] = defaultdict(list)
    for run in runs:
        equal[run.spec, run.input_size].append(run)
    networks = [Network(group[0]) for group in equal.values()]
    print(f"{len(runs)} runs, {len(networks)} networks, {args.repeats} turns", flush=True)
    random = Random(0)
    for turn in range(_WARM_UP + args.repeats):
        for network in random.sample(networks, len(networks)):
            network.time(turn, is_kept=turn >= _WARM_UP)
    times = {
        str(run.folder): network.medians()
        for network, group in zip(networks, equal.values(), strict=True)
        for run in group
    }
    about = {"device": device_name(torch.device("cpu")), "torch": torch.__version__}
    content = {**about, "threads": 1, "repeats": args.repeats, "runs": times}
    file = args.folds[0].parent / LATENCY
    write_file(file, json.dumps(content, indent=1) + "\n")
    print(f"Written: {file}")


class Network:
    """The detector of a run, and some images of its test set."""

    def __init__(self, run: Run, num_images: int = 8):
        cfg = network_config(str(run.folder), None, device="cpu")
        self.model: Any = load_network(cfg).model
        loader = build_test_loader(cfg, run.dataset)
        self.batches = [batch for batch, _ in zip(loader, range(num_images), strict=False)]
        self.milliseconds: dict[str, list[float]] = defaultdict(list)

    @torch.no_grad()
    def time(self, turn: int, *, is_kept: bool) -> None:
        """Run body and detector on one of the images."""
        batch = self.batches[turn % len(self.batches)]
        image, body = self.model.preprocess_image(batch).tensor, find_body(self.model)
        for part, run in (("body", lambda: body(image)), ("detector", lambda: self.model(batch))):
            begin = time.process_time()
            run()
            if is_kept:
                self.milliseconds[part].append(1e3 * (time.process_time() - begin))

    def medians(self) -> dict[str, float]:
        return {part: statistics.median(times) for part, times in self.milliseconds.items()}


if __name__ == "__main__":
    with one_line_errors(__file__):
        main()
