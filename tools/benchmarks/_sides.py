"""What a benchmark is, and how a call is timed."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

Sides = tuple[Callable[[], float], Callable[[], float]]
Cases = dict[str, Sides]


@dataclass(frozen=True)
class Benchmark:
    """
    Attributes:
        make: builds the two sides for a device, ours first; a call of a side is one measurement.
            It may also build several cases, keyed by name.
        goal: the highest acceptable ratio; None if the ratio is only for information.
        keys: names of the two figures, ending in their unit.
        repeats: pairs of measurements, unless ``--repeats`` is given.
        warm_up: pairs before them that do not count.
    """

    make: Callable[[str], Sides | Cases]
    goal: float | None
    keys: tuple[str, str]
    repeats: int
    warm_up: int = 1

    @property
    def summary(self) -> str:
        return self.make.__doc__.splitlines()[0]


@dataclass(frozen=True)
class Table:
    """Measurements that are not a comparison of two sides.

    Attributes:
        make: measures on a device, with a number of repetitions, on images of a size, (height,
            width) or its default. Returns rows with their columns by name, and the main figures.
        repeats: repetitions, unless ``--repeats`` is given.
    """

    make: Callable[[str, int, tuple[int, int] | None], tuple[list[dict], dict]]
    repeats: int
    goal: None = None

    @property
    def summary(self) -> str:
        return self.make.__doc__.splitlines()[0]


def milliseconds(function: Callable[[], object], device: str) -> float:
    import torch

    synchronize = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    synchronize()
    start = time.perf_counter()
    function()
    synchronize()
    return (time.perf_counter() - start) * 1e3
