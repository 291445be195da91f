"""Latency of two networks in the same formats, side by side on this machine."""

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import torch

from crnas_d2.common.errors import JobError
from crnas_d2.common.progress import progress_bar

from .formats import FORMATS, BodyAndNeck, Runner

_WARM_UP = 5  # rounds, in which memory is allocated and TorchScript is compiled
_LEAST_ROUNDS, _MOST_ROUNDS = 7, 100
_MOST_SECONDS = 60  # unless the least number of rounds takes longer


def measure_latencies(
    exported: BodyAndNeck, baseline: BodyAndNeck, formats: Sequence[str], folder: Path
) -> dict[str, dict[str, float]]:
    """Return milliseconds for one image by format, then by ``baseline`` and ``exported``.

    They are medians of rounds, in each of which all run once, in a new order: disturbances of the
    machine so affect all alike. ``folder`` has the formats of ``exported``.

    Raises:
        JobError: the two take images of different sizes.
    """
    if exported.example != baseline.example:
        raise JobError(
            f"The two networks take images of {sorted((exported.example, baseline.example))}; "
            "their latencies cannot be compared. Choose an --input-size that is a multiple of 128."
        )
    runners: dict[tuple[str, str], Runner] = {}
    images, random = torch.randn(exported.example), Random(0)
    with TemporaryDirectory() as temporary, torch.no_grad():
        for name in formats:
            FORMATS[name].export(baseline, Path(temporary))
        for role, body, place in (
            ("baseline", baseline, Path(temporary)),
            ("exported", exported, folder),
        ):
            runners["PyTorch", role] = body
            for name in formats:
                runners[name, role] = FORMATS[name].load(place / FORMATS[name].file)

        def run_round() -> dict[tuple[str, str], float]:
            seconds = {}
            for runner in random.sample(list(runners), len(runners)):
                start = time.perf_counter()
                runners[runner](images)
                seconds[runner] = time.perf_counter() - start
            return seconds

        elapsed = [sum(run_round().values()) for _ in range(_WARM_UP)][-1]
        number = max(_LEAST_ROUNDS, min(_MOST_ROUNDS, int(_MOST_SECONDS / elapsed)))
        bar = progress_bar(range(number), desc="Latency", unit="round")
        rounds = [run_round() for _ in bar]
    found: dict[str, dict[str, float]] = {}
    for name, role in runners:
        times = [1e3 * seconds[name, role] for seconds in rounds]
        found.setdefault(name, {})[role] = statistics.median(times)
    return found
