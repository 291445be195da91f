"""How long the body takes for one image: a table of operations, as a sum for every genotype."""

import hashlib
import json
import logging
import os
import platform
import statistics
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from random import Random

import torch
from detectron2.layers import ShapeSpec
from torch import nn
from tqdm import tqdm

from crnas_d2.modeling import build_supernet_backbone, find_supernet
from crnas_d2.space import Budget, Genotype, SearchSpace

from .cost import CostTable, choice_blocks

__all__ = [
    "CPUClock",
    "CUDAClock",
    "Clock",
    "LatencyCheck",
    "LatencyMeter",
    "LatencyTable",
    "build_meter",
    "open_latency_table",
]

logger = logging.getLogger(__name__)

LARGE_ERROR = 0.2  # of a sum against the whole network, above which to warn

_WARM_UP = 2  # rounds: memory, kernels and their choice are settled then
_LEAST_ROUNDS, _MOST_ROUNDS = 5, 50
_MOST_SECONDS = 60  # for more than the least number of rounds
_CIRCUMSTANCES = ("torch", "threads")  # of a measurement, which may be others when it is read
_CHECKED = 4  # random networks in a check, beside the fastest and the slowest


# --------------------------------------------------------------------- clocks


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


# ---------------------------------------------------------------------- table


@dataclass(frozen=True)
class LatencyCheck:
    """One network, as the table has it and as it is.

    Attributes:
        genotype: which network.
        predicted: the sum of the table, milliseconds.
        measured: of the network as a whole, milliseconds.
    """

    genotype: Genotype
    predicted: float
    measured: float

    @property
    def error(self) -> float:
        """Of the prediction, relative to what was measured."""
        return abs(self.predicted / self.measured - 1)


@dataclass(frozen=True)
class LatencyTable:
    """The milliseconds of every genotype: a sum over its options, plus what all have in common.

    Attributes:
        space: the genotypes.
        costs: by choice, in their order, the milliseconds of each option.
        base: milliseconds of the rest of the body.
        origin: where it was measured, and of what: plain JSON data.
        checks: sums against whole networks, measured at the same time.
    """

    space: SearchSpace
    costs: tuple[Mapping[int, float], ...]
    base: float
    origin: Mapping[str, object] = field(default_factory=dict)
    checks: Sequence[LatencyCheck] = ()

    def __call__(self, genotype: Genotype) -> float:
        options = self.space.values(genotype).values()
        costs = (costs[option] for costs, option in zip(self.costs, options, strict=True))
        return sum(costs, start=self.base)

    def budget(self, key: str, limits: tuple[float, float]) -> Budget:
        """A limit on the latency.

        Args:
            key: the config key that sets it.
            limits: (least, most), milliseconds.
        """
        return Budget(key, *limits, self.costs, self.base, "ms")

    def networks_to_check(self) -> list[Genotype]:
        """The fastest, the slowest and a few random networks, always the same ones."""
        ends = [
            self.space.genotype(
                {
                    name: pick(costs, key=costs.get)
                    for name, costs in zip(self.space.names, self.costs, strict=True)
                }
            )
            for pick in (min, max)
        ]
        random = Random(0)
        drawn = [self.space.complete(self.space.base, random) for _ in range(_CHECKED)]
        # A small space may give the same one twice.
        return list(dict.fromkeys([*ends, *drawn]))

    def save(self, path: str | Path) -> None:
        """Writes a JSON file, all of it or nothing."""
        content = {
            "unit": "ms",
            "origin": self.origin,
            "base": self.base,
            "choices": dict(zip(self.space.names, self.costs, strict=True)),
            "checks": [
                {
                    "genotype": check.genotype.to_config(),
                    "predicted": check.predicted,
                    "measured": check.measured,
                }
                for check in self.checks
            ],
        }
        unfinished = Path(f"{path}.{os.getpid()}")
        unfinished.write_text(json.dumps(content, indent=2) + "\n")
        unfinished.replace(path)

    @classmethod
    def load(
        cls, path: str | Path, space: SearchSpace, origin: Mapping[str, object]
    ) -> "LatencyTable":
        """Reads what :meth:`save` wrote.

        Args:
            origin: what the table is to be of. Another version of torch is only warned of, and
                another number of threads (workers share a processor) is not even that: a search
                that goes on keeps its limits.

        Raises:
            ValueError: it was measured on another device or of another network.
        """
        try:
            content = json.loads(Path(path).read_text())
            known = content["origin"]
            choices = {
                name: {int(option): float(cost) for option, cost in costs.items()}
                for name, costs in content["choices"].items()
            }
            base = float(content["base"])
            checks = [
                LatencyCheck(
                    Genotype.from_config(check["genotype"]), check["predicted"], check["measured"]
                )
                for check in content["checks"]
            ]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path} is no table of latencies ({error!r}). Remove it to have them measured."
            ) from error
        origin = json.loads(json.dumps(origin))
        different = [
            f"{key} was {known.get(key)!r} and is {value!r}"
            for key, value in origin.items()
            if key not in _CIRCUMSTANCES and known.get(key) != value
        ]
        expected = {choice.name: set(choice.options) for choice in space.choices}
        if {name: set(costs) for name, costs in choices.items()} != expected:
            different.append(f"its choices are not those of the {space.kind} space")
        if different:
            raise ValueError(
                f"{path} holds latencies of something else: {'; '.join(different)}. Go on where "
                "they were measured, or choose another OUTPUT_DIR; removing the file has them "
                "measured anew, which changes SEARCH.BUDGET.LATENCY for a search under way."
            )
        if known.get("torch") != origin.get("torch"):
            logger.warning(
                "%s was measured with torch %s; this is %s. Its latencies are kept.",
                path,
                known.get("torch"),
                origin.get("torch"),
            )
        return cls(space, tuple(choices[name] for name in space.names), base, known, checks)


# ---------------------------------------------------------------- measurement


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


def build_meter(cfg, input_size: tuple[int, int]) -> LatencyMeter:
    """The meter of a config's supernet on ``MODEL.DEVICE``, with random weights.

    Args:
        input_size: (height, width) of the image, pixels.
    """
    device = _device(cfg)
    channels = len(cfg.MODEL.PIXEL_MEAN)
    # The numbers drawn here are not to be missing elsewhere.
    with torch.random.fork_rng(devices=[]):
        body = build_supernet_backbone(cfg, ShapeSpec(channels=channels)).to(device)
        image = torch.randn(1, channels, *input_size).to(device)
    return LatencyMeter(body, image, CUDAClock(device) if device.type == "cuda" else CPUClock())


def open_latency_table(cfg, costs: CostTable, path: str | Path) -> LatencyTable:
    """The table in ``path``, which is measured, checked and written first where there is none.

    So a search that goes on has the limits with which it began.

    Args:
        costs: of the same config; they tell whether a table is of this network and image size.

    Raises:
        ValueError: the file was measured on another device or of another network.
    """
    origin = _origin(cfg, costs)
    if Path(path).exists():
        table = LatencyTable.load(path, costs.space, origin)
    else:
        meter = build_meter(cfg, costs.input_size)
        table = meter.table(origin)
        checks = meter.check(table, table.networks_to_check())
        table = replace(table, checks=checks)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        table.save(path)
    _log(table, path)
    return table


def _log(table: LatencyTable, path: str | Path) -> None:
    measured = [check.measured for check in table.checks]
    worst = max(check.error for check in table.checks)
    message = (
        f"Latencies of {path}: the sums are within {100 * worst:.1f} % of {len(measured)} whole "
        f"networks, which take {min(measured):.3g} to {max(measured):.3g} ms on "
        f"{table.origin['device']}."
    )
    logger.info(message)
    if worst > LARGE_ERROR:
        logger.warning(
            "%s That is much: SEARCH.BUDGET.LATENCY holds for the sums. Was the device busy? Then "
            "remove the file, and begin again on an idle one.",
            message,
        )


def _origin(cfg, costs: CostTable) -> dict[str, object]:
    """On what device, and of what, a table is measured; plain JSON data."""
    # What the network is, whichever config keys say so.
    network = repr([costs.base, *costs.costs])
    return {
        "device": _device_name(_device(cfg)),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "input_size": list(costs.input_size),
        "family": cfg.MODEL.SUPERNET.FAMILY,
        "space": costs.space.kind,
        "digest of MACs and parameters": hashlib.sha256(network.encode()).hexdigest(),
    }


def _device(cfg) -> torch.device:
    device = torch.device(cfg.MODEL.DEVICE)
    if device.type not in ("cpu", "cuda"):
        raise ValueError(
            f"MODEL.DEVICE is '{cfg.MODEL.DEVICE}', on which no latency is measured; expected cpu "
            "or cuda. Set SEARCH.BUDGET.LATENCY to []."
        )
    return device


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():  # platform has no name of the processor on Linux
        lines = cpuinfo.read_text().splitlines()
        models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
        name = next(models, name)
    return name
