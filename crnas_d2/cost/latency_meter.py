"""Measure the latency of the blocks of a supernet on the device on which they run."""

import statistics
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, pairwise
from random import Random

import torch
from torch import nn

from crnas_d2.common.progress import progress_bar
from crnas_d2.config import NetworkSpec
from crnas_d2.modeling import build_body
from crnas_d2.space import AdditiveCost, Genotype

from .block_events import BlockEvents, single_path
from .counted import covering_values

UNIT = "ms"

_WARM_UP = 2  # rounds, in which memory is allocated and kernels are chosen
_LEAST_ROUNDS, _MOST_ROUNDS = 5, 50
_MOST_SECONDS = 60  # for all rounds, unless the least number takes longer


class Clock:
    """Takes the time at several points of a computation."""

    @abstractmethod
    def mark(self) -> None:
        """Record the time at which the device gets here."""

    @abstractmethod
    def intervals(self) -> list[float]:
        """Return the milliseconds from each mark to the next, in order, and clear the marks."""


class CPUClock(Clock):
    def __init__(self) -> None:
        self.marks: list[float] = []

    def mark(self) -> None:
        self.marks.append(time.perf_counter())

    def intervals(self) -> list[float]:
        marks, self.marks = self.marks, []
        return [1e3 * (end - begin) for begin, end in pairwise(marks)]


class CUDAClock(Clock):
    """Uses events in the stream, so that nothing waits for the device before the last mark."""

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


def build_meter(
    spec: NetworkSpec, device: torch.device, input_size: tuple[int, int]
) -> "LatencyMeter":
    """Build the meter of a supernet with random weights.

    Args:
        input_size: (height, width) of the image, pixels.
    """
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
        clock: of that device.
        most_seconds: limits the number of rounds, but five are always run. A round runs each option
            of each choice at least once, see :func:`crnas_d2.cost.counted.covering_values`.
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
        self.supernet, self.space = single_path(body)

    def measure(self, name: str = "LATENCY") -> AdditiveCost:
        """Time every option of every choice, and the rest of the body, as a cost."""
        times: dict[str, dict[int, list[float]]] = {
            choice.name: {option: [] for option in choice.options} for choice in self.space.choices
        }
        rests: list[float] = []
        random = Random(0)

        def run_round(keep: bool = True) -> float:
            """Run all options at least once, in random combinations; return the milliseconds."""
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
        # A choice without a block, or after the last output, was never timed and costs nothing.
        options = {
            choice: {option: statistics.median(seen or [0.0]) for option, seen in of.items()}
            for choice, of in times.items()
        }
        return AdditiveCost(name, UNIT, self.space, options, statistics.median(rests))

    def time_networks(self, genotypes: Sequence[Genotype]) -> dict[Genotype, float]:
        """Return the milliseconds of whole networks, without marks at their blocks."""
        times: dict[Genotype, list[float]] = {genotype: [] for genotype in genotypes}
        random = Random(0)

        def run_round(keep: bool = True) -> float:
            """Run all networks once; return the milliseconds."""
            whole = 0.0
            # In a new order each time, because disturbances may come at regular intervals.
            for genotype in random.sample(list(times), len(times)):
                self.supernet.set_path(genotype)
                self._forward()
                [elapsed] = self.clock.intervals()
                whole += elapsed
                if keep:
                    times[genotype].append(elapsed)
            return whole

        self._repeat(run_round, "latency of networks")
        return {genotype: statistics.median(seen) for genotype, seen in times.items()}

    def _repeat(self, run_round: Callable[..., float], what: str) -> None:
        elapsed = [run_round(keep=False) for _ in range(_WARM_UP)][-1]
        in_time = int(1e3 * self.most_seconds / elapsed) if elapsed else _MOST_ROUNDS
        rounds = max(_LEAST_ROUNDS, min(_MOST_ROUNDS, in_time))
        for _ in progress_bar(range(rounds), desc=what, unit="round", delay=3, leave=False):
            run_round()

    def _run(self, values: Mapping[str, int]) -> tuple[float, dict[str, float]]:
        """Run one path; return the milliseconds of the rest, and of the block of each choice."""
        self.supernet.set_path(self.space.genotype(values))
        with BlockEvents(self.supernet, self.clock.mark) as events:
            self._forward()
        *times, whole = accumulate(self.clock.intervals())
        parts = events.own_parts(times)
        return whole - sum(parts.values()), parts

    def _forward(self) -> None:
        with torch.no_grad():
            self.clock.mark()
            self.body(self.image)
            self.clock.mark()
