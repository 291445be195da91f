"""Measure the latency of the blocks of a supernet on the device on which they run."""

import statistics
import time
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, pairwise
from random import Random
from typing import Any

import torch
from torch import nn

from crnas_d2.common.progress import progress_bar
from crnas_d2.config import NetworkSpec
from crnas_d2.modeling import build_body
from crnas_d2.space import AdditiveCost, Genotype

from .counted import BlockEvents, covering_values, single_path

UNIT = "ms"
Timed = tuple[object, float]  # a part of a network, and its milliseconds

_WARM_UP = 2  # rounds, in which memory is allocated and kernels are chosen
_LEAST_ROUNDS, _MOST_ROUNDS = 5, 50


class Clock:
    """Takes the time at several points of a computation."""

    def __init__(self) -> None:
        self.marks: list[Any] = []

    @abstractmethod
    def mark(self) -> None:
        """Record the time at which the device gets here."""

    @abstractmethod
    def intervals(self) -> list[float]:
        """Return the milliseconds from each mark to the next, in order, and clear the marks."""


class CPUClock(Clock):
    def mark(self) -> None:
        self.marks.append(time.perf_counter())

    def intervals(self) -> list[float]:
        marks, self.marks = self.marks, []
        return [1e3 * (end - begin) for begin, end in pairwise(marks)]


class CUDAClock(Clock):
    """Uses events in the stream, so that nothing waits for the device before the last mark."""

    def __init__(self, device: torch.device):
        super().__init__()
        self.device = device

    def mark(self) -> None:
        if not self.marks:
            torch.cuda.synchronize(self.device)
        self.marks.append(torch.cuda.Event(enable_timing=True))
        self.marks[-1].record(torch.cuda.current_stream(self.device))

    def intervals(self) -> list[float]:
        torch.cuda.synchronize(self.device)
        marks, self.marks = self.marks, []
        return [begin.elapsed_time(end) for begin, end in pairwise(marks)]


def build_meter(
    spec: NetworkSpec, device: torch.device, input_size: tuple[int, int]
) -> "LatencyMeter":
    """Build the meter of a supernet with random weights, for images of (height, width) pixels."""
    # Measuring must not change the random numbers of what follows.
    with torch.random.fork_rng(devices=[]):
        body = build_body(spec).to(device)
        image = torch.randn(1, spec.in_channels, *input_size).to(device)
    return LatencyMeter(body, image, CUDAClock(device) if device.type == "cuda" else CPUClock())


class LatencyMeter:
    """Measures the paths of a supernet, one image at a time.

    Blocks are timed in place, while the whole body runs, so that caches and the queue of the device
    are as in a network. Every pass runs a random path, so that slow drifts and the neighbours of a
    block affect all options alike. The median over the passes counts.

    Args:
        body: a supernet backbone, which is put into eval mode; any path may be active afterwards.
        image: (1, C, H, W), on the device of the body.
        most_seconds: limits the number of rounds, but five are always run. A round runs each option
            of each choice at least once, see :func:`crnas_d2.cost.counted.covering_values`.
    """

    def __init__(
        self, body: nn.Module, image: torch.Tensor, clock: Clock, most_seconds: float = 60
    ):
        self.body, self.image, self.clock = body.eval(), image, clock
        self.most_seconds = most_seconds
        self.supernet, self.space = single_path(body)

    def measure(self, name: str = "LATENCY") -> AdditiveCost:
        """Time every option of every choice, and the rest of the body, as a cost."""
        random = Random(0)

        def run_round() -> Iterator[Timed]:
            """Run all options at least once, in random combinations."""
            for values in covering_values(self.space, random):
                self.supernet.set_path(self.space.genotype(values))
                with BlockEvents(self.supernet, self.clock.mark) as events:
                    self._forward()
                *times, whole = accumulate(self.clock.intervals())
                parts = events.own_parts(times)
                yield "rest", whole - sum(parts.values())
                yield from (((choice, values[choice]), part) for choice, part in parts.items())

        medians = self._medians(run_round, "latency of blocks")
        # A choice without a block, or after the last output, was never timed and costs nothing.
        options = {
            c.name: {option: medians.get((c.name, option), 0.0) for option in c.options}
            for c in self.space.choices
        }
        return AdditiveCost(name, UNIT, self.space, options, medians["rest"])

    def time_networks(self, genotypes: Sequence[Genotype]) -> dict[Genotype, float]:
        """Return the milliseconds of different networks, without marks at their blocks."""
        random = Random(0)

        def run_round() -> Iterator[Timed]:
            # In a new order each time, because disturbances may come at regular intervals.
            for genotype in random.sample(genotypes, len(genotypes)):
                self.supernet.set_path(genotype)
                self._forward()
                [elapsed] = self.clock.intervals()
                yield genotype, elapsed

        medians = self._medians(run_round, "latency of networks")
        return {genotype: medians[genotype] for genotype in genotypes}

    def _medians(self, run_round: Callable[[], Iterator[Timed]], what: str) -> dict[object, float]:
        """Run rounds for a while; return the median of each part's milliseconds."""
        elapsed = [sum(part for _, part in run_round()) for _ in range(_WARM_UP)][-1]
        in_time = int(1e3 * self.most_seconds / elapsed) if elapsed else _MOST_ROUNDS
        rounds = max(_LEAST_ROUNDS, min(_MOST_ROUNDS, in_time))
        times = defaultdict(list)
        for _ in progress_bar(range(rounds), desc=what, unit="round", delay=3, leave=False):
            for name, part in run_round():
                times[name].append(part)
        return {name: statistics.median(seen) for name, seen in times.items()}

    def _forward(self) -> None:
        with torch.no_grad():
            self.clock.mark()
            self.body(self.image)
            self.clock.mark()
