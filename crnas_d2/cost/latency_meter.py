"""Measure how long the blocks of a supernet take, on the device on which they run."""

import statistics
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from random import Random

import torch
from torch import nn
from tqdm import tqdm

from crnas_d2.modeling import SinglePathSupernet, find_supernet
from crnas_d2.space import AdditiveCost, Genotype

from .counted import covering_values
from .latency_table import UNIT, LatencyCheck

__all__ = ["CPUClock", "CUDAClock", "Clock", "LatencyMeter"]

_WARM_UP = 2  # rounds: memory, kernels and their choice are settled then
_LEAST_ROUNDS, _MOST_ROUNDS = 5, 50
_MOST_SECONDS = 60  # for more than the least number of rounds


class Clock:
    """Takes the time of several points of a computation."""

    @abstractmethod
    def mark(self) -> None:
        """Note when the device gets here."""

    @abstractmethod
    def intervals(self) -> list[float]:
        """Milliseconds from each mark to the next, in order; then all marks are forgotten."""


class CPUClock(Clock):
    def __init__(self):
        self.marks: list[float] = []

    def mark(self) -> None:
        self.marks.append(time.perf_counter())

    def intervals(self) -> list[float]:
        marks, self.marks = self.marks, []
        return [1e3 * (end - begin) for begin, end in pairwise(marks)]


class CUDAClock(Clock):
    """By events in the stream: nothing waits for the device before the last mark."""

    def __init__(self, device: torch.device):
        self.device = device
        self.marks: list[torch.cuda.Event] = []

    def mark(self) -> None:
        if not self.marks:
            torch.cuda.synchronize(self.device)
        self.marks.append(torch.cuda.Event(enable_timing=True))
        self.marks[-1].record(torch.cuda.current_stream(self.device))

    def intervals(self) -> list[float]:
        torch.cuda.synchronize(self.device)
        marks, self.marks = self.marks, []
        return [begin.elapsed_time(end) for begin, end in pairwise(marks)]


class LatencyMeter:
    """Measures the paths of a supernet, one image at a time.

    Blocks are timed in place, while the whole body runs: each finds the caches and the queue of
    the device as it does in a network. Every pass samples its path, so that slow drifts and
    the neighbours of a block affect all options alike; the median of the passes counts.

    Args:
        body: a supernet backbone, which is put into eval mode; any path may be active afterwards.
        image: (1, C, H, W), on the device of the body.
        clock: of that device.
        most_seconds: no more rounds are begun than fit in, but for five of them. A round has as
            many passes as the choices have options at most.
    """

    def __init__(
        self,
        body: nn.Module,
        image: torch.Tensor,
        clock: Clock,
        most_seconds: float = _MOST_SECONDS,
    ):
        self.body = body.eval()
        self.image = image
        self.clock = clock
        self.most_seconds = most_seconds
        self.supernet = find_supernet(body)
        assert isinstance(self.supernet, SinglePathSupernet), (
            "the body is not a single-path supernet"
        )
        self.space = self.supernet.space

    def measure(self, name: str = "LATENCY") -> AdditiveCost:
        """Time every option of every choice, and the rest of the body.

        Args:
            name: of the cost.
        """
        times: dict[str, dict[int, list[float]]] = {
            choice.name: {option: [] for option in choice.options} for choice in self.space.choices
        }
        rests: list[float] = []
        random = Random(0)

        def run_round(keep: bool = True) -> float:
            """All options at least once, in random combinations; milliseconds."""
            whole = 0.0
            for values in covering_values(self.space, random):
                rest, parts = self._run(values)
                whole += rest + sum(parts.values())
                if keep:
                    rests.append(rest)
                    for choice, part in parts.items():
                        times[choice][values[choice]].append(part)
            return whole

        self._repeat(run_round, "latency of blocks")
        # A choice without a block of its own, or behind the last output, is part of the rest.
        options = {
            choice: {
                option: statistics.median(seen) if seen else 0.0 for option, seen in of.items()
            }
            for choice, of in times.items()
        }
        return AdditiveCost(name, UNIT, self.space, options, statistics.median(rests))

    def check(self, cost: AdditiveCost, genotypes: Sequence[Genotype]) -> list[LatencyCheck]:
        """Time whole networks, without a look at their blocks.

        Args:
            cost: of :meth:`measure`, which predicts them.
        """
        times: dict[Genotype, list[float]] = {genotype: [] for genotype in genotypes}
        random = Random(0)

        def run_round(keep: bool = True) -> float:
            """All networks once; milliseconds."""
            whole = 0.0
            # In a new order each time: what disturbs the device may come at regular intervals.
            for genotype in random.sample(list(times), len(times)):
                self.supernet.set_path(genotype)
                self._forward()
                [elapsed] = self.clock.intervals()
                whole += elapsed
                if keep:
                    times[genotype].append(elapsed)
            return whole

        self._repeat(run_round, "latency of networks")
        return [
            LatencyCheck(genotype, cost(genotype), statistics.median(seen))
            for genotype, seen in times.items()
        ]

    def _repeat(self, run_round: Callable[[bool], float], what: str) -> None:
        elapsed = [run_round(keep=False) for _ in range(_WARM_UP)][-1]
        in_time = int(1e3 * self.most_seconds / elapsed) if elapsed else _MOST_ROUNDS
        rounds = max(_LEAST_ROUNDS, min(_MOST_ROUNDS, in_time))
        for _ in tqdm(range(rounds), desc=what, unit="round", delay=3, leave=False):
            run_round()

    def _run(self, values: Mapping[str, int]) -> tuple[float, dict[str, float]]:
        """Milliseconds of the rest, and of the blocks by the names of their choices."""
        self.supernet.set_path(self.space.genotype(values))
        events: list[str] = []  # the choice whose block begins; empty: one ends

        def before(name: str, *_) -> None:
            events.append(name)
            self.clock.mark()

        def after(*_) -> None:
            events.append("")
            self.clock.mark()

        handles = []
        for name, blocks in self.supernet.choice_blocks.items():
            for block in blocks:
                handles.append(block.register_forward_pre_hook(partial(before, name)))
                handles.append(block.register_forward_hook(after))
        try:
            self._forward()
        finally:
            for handle in handles:
                handle.remove()
        first, *intervals = self.clock.intervals()
        # What follows an event belongs to the innermost block that runs then, or to the rest.
        rest, parts, running = first, {}, []
        for name, interval in zip(events, intervals, strict=True):
            if name:
                running.append(name)
            else:
                running.pop()
            if running:
                parts[running[-1]] = parts.get(running[-1], 0.0) + interval
            else:
                rest += interval
        return rest, parts

    def _forward(self) -> None:
        with torch.no_grad():
            self.clock.mark()
            self.body(self.image)
            self.clock.mark()
