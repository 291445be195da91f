"""Latency of two networks in the same formats, side by side on this machine."""

import statistics
import time
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import TypeVar

import torch
from torch import Tensor

from crnas_d2.common.errors import JobError
from crnas_d2.common.progress import progress_bar

from .formats import FORMATS, BodyAndNeck, Runner

_WARM_UP = 5  # rounds, in which memory is allocated and TorchScript is compiled
_LEAST_ROUNDS, _MOST_ROUNDS = 7, 100
_MOST_SECONDS = 60  # unless the least number of rounds takes longer

Name = TypeVar("Name", bound=Hashable)


def measure_latencies(
    exported: BodyAndNeck, baseline: BodyAndNeck, formats: Sequence[str], folder: Path
) -> dict[str, dict[str, float]]:
    """Return milliseconds for one image by format, then by ``baseline`` and ``exported``.

    Args:
        folder: has the formats of ``exported``.

    Raises:
        JobError: the two take images of different sizes.
    """
    if exported.example != baseline.example:
        raise JobError(
            f"The two networks take images of {sorted((exported.example, baseline.example))}; "
            "their latencies cannot be compared. Choose an --input-size that is a multiple of 128."
        )
    runners: dict[tuple[str, str], Runner] = {}
    with TemporaryDirectory() as temporary:
        for name in formats:
            FORMATS[name].export(baseline, Path(temporary))
        for role, body, place in (
            ("baseline", baseline, Path(temporary)),
            ("exported", exported, folder),
        ):
            runners["PyTorch", role] = body
            for name in formats:
                runners[name, role] = FORMATS[name].load(place / FORMATS[name].file)
        medians = time_alternately(runners, torch.randn(exported.example))
    found: dict[str, dict[str, float]] = {}
    for (name, role), median in medians.items():
        found.setdefault(name, {})[role] = median
    return found


def time_alternately(runners: Mapping[Name, Runner], images: Tensor) -> dict[Name, float]:
    """Run each once a round, in a new order each time; return the medians in milliseconds.

    Disturbances of the machine so affect all alike.

    Args:
        images: (N, C, H, W), on the CPU.
    """
    random = Random(0)
    times: dict[Name, list[float]] = {name: [] for name in runners}

    def run_round() -> float:
        begin = time.perf_counter()
        for name in random.sample(list(runners), len(runners)):
            start = time.perf_counter()
            runners[name](images)
            times[name].append(1e3 * (time.perf_counter() - start))
        return time.perf_counter() - begin

    with torch.no_grad():
        elapsed = [run_round() for _ in range(_WARM_UP)][-1]
        rounds = max(_LEAST_ROUNDS, min(_MOST_ROUNDS, int(_MOST_SECONDS / elapsed)))
        for seen in times.values():
            seen.clear()
        for _ in progress_bar(range(rounds), desc="Latency", unit="round"):
            run_round()
    return {name: statistics.median(seen) for name, seen in times.items()}
