"""Latency of two networks in the same formats, side by side on this machine."""

import statistics
import time
from collections.abc import Mapping
from random import Random

import torch
from torch import Tensor

from crnas_d2.common.progress import progress_bar

from .formats import Runner

_WARM_UP = 5  # rounds, in which memory is allocated and TorchScript is compiled
_LEAST_ROUNDS, _MOST_ROUNDS = 7, 100
_MOST_SECONDS = 60  # unless the least number of rounds takes longer


def time_alternately(
    runners: Mapping[str, Runner], images: Tensor, most_seconds: float = _MOST_SECONDS
) -> dict[str, float]:
    """Run each once a round, in a new order each time; return the medians in milliseconds.

    Disturbances of the machine so affect all alike.

    Args:
        images: (N, C, H, W), on the CPU.
    """
    random, times = Random(0), {name: [] for name in runners}

    def run_round() -> float:
        begin = time.perf_counter()
        for name in random.sample(list(runners), len(runners)):
            start = time.perf_counter()
            runners[name](images)
            times[name].append(1e3 * (time.perf_counter() - start))
        return time.perf_counter() - begin

    with torch.no_grad():
        elapsed = [run_round() for _ in range(_WARM_UP)][-1]
        rounds = max(_LEAST_ROUNDS, min(_MOST_ROUNDS, int(most_seconds / elapsed)))
        for seen in times.values():
            seen.clear()
        for _ in progress_bar(range(rounds), desc="Latency", unit="round"):
            run_round()
    return {name: statistics.median(seen) for name, seen in times.items()}
