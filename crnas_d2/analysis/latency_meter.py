"""Measures how long the blocks of a supernet take, on the device on which they run."""

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

from crnas_d2.modeling import find_supernet
from crnas_d2.space import Genotype

from .cost import choice_blocks
from .latency_table import LatencyCheck, LatencyTable

__all__ = ["CPUClock", "CUDAClock", "Clock", "LatencyMeter"]

_WARM_UP = 2  # rounds: memory, kernels and their choice are settled then
_LEAST_ROUNDS, _MOST_ROUNDS = 5, 50
_MOST_SECONDS = 60  # for more than the least number of rounds


class Clock:
    """Takes the time of several points of a computation."""

    @abstractmethod
    def mark(self) -> None:
        """Notes when the device gets here."""

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
    the device as it does in a network. Every pass draws its path anew, so that slow drifts and
    the neighbours of a block fall upon all options alike; the median of the passes counts.

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
        assert self.supernet is not None, "the config builds a single network, not a supernet"
        self.space = self.supernet.space

    def table(self, origin: Mapping[str, object] | None = None) -> LatencyTable:
        """Times every option of every choice, and the rest of the body."""
        times: list[dict[int, list[float]]] = [
            {option: [] for option in choice.options} for choice in self.space.choices
        ]
        rests: list[float] = []
        random = Random(0)

        def run_round(keep: bool = True) -> float:
            """All options once, in random combinations; milliseconds."""
            orders = [random.sample(choice.options, len(choice.options)) for choice in choices]
            whole = 0.0
            for turn in range(max(map(len, orders))):
                path = [order[turn % len(order)] for order in orders]
                rest, parts = self._run(dict(zip(self.space.names, path, strict=True)))
                whole += rest + sum(parts.values())
                if keep:
                    rests.append(rest)
                    for index, part in parts.items():
                        times[index][path[index]].append(part)
            return whole

        choices = self.space.choices
        self._repeat(run_round, "latency of blocks")
        # A choice without a block of its own, or behind the last output, is part of the rest.
        costs = tuple(
            {option: statistics.median(seen) if seen else 0.0 for option, seen in options.items()}
            for options in times
        )
        return LatencyTable(self.space, costs, statistics.median(rests), origin or {})

    def check(self, table: LatencyTable, genotypes: Sequence[Genotype]) -> list[LatencyCheck]:
        """Times whole networks, without a look at their blocks."""
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
            LatencyCheck(genotype, table(genotype), statistics.median(seen))
            for genotype, seen in times.items()
        ]

    def _repeat(self, run_round: Callable[[bool], float], what: str) -> None:
        elapsed = [run_round(keep=False) for _ in range(_WARM_UP)][-1]
        affordable = int(1e3 * self.most_seconds / elapsed) if elapsed else _MOST_ROUNDS
        rounds = max(_LEAST_ROUNDS, min(_MOST_ROUNDS, affordable))
        for _ in tqdm(range(rounds), desc=what, unit="round", delay=3, leave=False):
            run_round()

    def _run(self, path: Mapping[str, int]) -> tuple[float, dict[int, float]]:
        """Milliseconds of the rest, and of the blocks by the places of their choices."""
        self.supernet.set_path(self.space.genotype(path))
        order: list[int] = []

        def before(index: int, *_) -> None:
            order.append(index)
            self.clock.mark()

        def after(*_) -> None:
            self.clock.mark()

        handles = []
        for index, block in choice_blocks(self.supernet, self.space).items():
            handles.append(block.register_forward_pre_hook(partial(before, index)))
            handles.append(block.register_forward_hook(after))
        try:
            self._forward()
        finally:
            for handle in handles:
                handle.remove()
        intervals = self.clock.intervals()
        # Every second interval lies in a block, the others before, between and after them.
        return sum(intervals[0::2]), dict(zip(order, intervals[1::2], strict=True))

    def _forward(self) -> None:
        with torch.no_grad():
            self.clock.mark()
            self.body(self.image)
            self.clock.mark()
