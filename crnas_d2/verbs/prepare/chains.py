"""Chains of trainings and searches with the starter configs, and what each of them will take."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate

from crnas_d2.common.formats import format_estimated_time, format_size
from crnas_d2.config import load_config
from crnas_d2.engine.estimate import Estimate, Speed, estimate_search, estimate_training
from crnas_d2.engine.measured_speed import measure_speed

from .recipe import Recipe

_DAY, _HOUR = 86400, 3600  # seconds


@dataclass(frozen=True)
class Step:
    """One command: a training or a search with one config.

    Attributes:
        run: name of the config, and of its folder of results.
        estimated_as: the config whose estimate it shares, because its own waits for a
            genotype.yaml: its network costs at most as much.
        model: which models are the same; each is measured once.
    """

    run: str
    verb: str = "train"
    estimated_as: str = ""
    model: str = "network"


@dataclass(frozen=True)
class Chain:
    """Steps that belong together, and what they end with.

    Attributes:
        compared: the runs to compare, the baseline first.
        search: the run with the search.
    """

    title: str
    steps: tuple[Step, ...]
    compared: tuple[str, str]
    search: str


_PRUNING = Chain(
    "Train a detector, search it for the blocks that it needs, fine-tune both:",
    (
        Step("baseline"),
        Step("search", "search"),
        Step("found", estimated_as="finetuned"),
        Step("finetuned"),
    ),
    ("finetuned", "found"),
    "search",
)
_CHANNELS = Chain(
    "Or search dilations of channels, from pretrained weights:",
    (
        Step("channels", model="channels"),
        Step("mixed", estimated_as="pretrained"),
        Step("pretrained"),
    ),
    ("pretrained", "mixed"),
    "channels",
)
_SUPERNET = Chain(
    "Or search blocks per stage in a supernet, all from scratch:",
    (
        Step("supernet", model="supernet"),
        Step("supernet_search", "search", model="supernet"),
        Step("searched", estimated_as="scratch"),
        Step("scratch"),
    ),
    ("scratch", "searched"),
    "supernet_search",
)


def chains(recipe: Recipe) -> list[Chain]:
    """Return what a user can do with the configs, the most promising first."""
    offered = ((_PRUNING, True), (_CHANNELS, recipe.has_channels), (_SUPERNET, recipe.has_supernet))
    return [chain for chain, is_offered in offered if is_offered]


@dataclass(frozen=True)
class ChainEstimate:
    """What the steps of a chain will take, each and together."""

    chain: Chain
    estimates: tuple[Estimate, ...]

    @property
    def seconds(self) -> float | None:
        """Of all steps together; ``None`` if unknown."""
        times = [estimate.seconds for estimate in self.estimates]
        return sum(time for time in times if time is not None) if None not in times else None

    def table(self) -> str:
        memory = [e.memory for e in self.estimates if e.memory is not None]
        disk = sum(e.disk for e in self.estimates)
        rows: list[tuple[Any, ...]] = [
            (step.run, e.work, e.seconds, e.memory, e.disk)
            for step, e in zip(self.chain.steps, self.estimates, strict=True)
        ]
        rows.append(("all", "", self.seconds, max(memory, default=None), disk))
        return tabulate(
            [
                (run, work, format_estimated_time(time), format_size(memory), format_size(disk))
                for run, work, time, memory, disk in rows
            ],
            headers=["step", "work", "time", "memory", "disk"],
        )

    def warning(self, recipe: Recipe) -> str:
        """Return what the user should know before starting; "" if nothing."""
        if self.seconds is None:
            return ""
        time = format_estimated_time(self.seconds)
        if recipe.device == "cpu" and self.seconds > _DAY:
            smaller = "--preset quick" if recipe.preset != "quick" else "smaller images (INPUT)"
            return (
                f"WARNING: on this CPU that takes {time}. Use {smaller}, a machine "
                "with a GPU (--device gpu), or fewer iterations (SOLVER.MAX_ITER)."
            )
        if recipe.preset == "quick" and self.seconds > 1.5 * _HOUR:
            return (
                f"WARNING: that takes {time} on this machine, more than 1.5 hours. "
                "Use fewer iterations (SOLVER.MAX_ITER) or smaller images (INPUT)."
            )
        return ""


def estimate_chains(
    recipe: Recipe, folder: Path, archval: int, *, is_timed: bool
) -> Iterator[ChainEstimate]:
    """Estimate all chains from their configs in a folder; each model is built and timed once.

    Args:
        archval: number of images in it.
        is_timed: whether this machine has the device of the recipe; else times are unknown.

    Raises:
        ValueError: a step does not fit the memory of this GPU.
    """
    # Where there is no GPU, sizes are those of the model on the CPU.
    here = [] if torch.cuda.is_available() else ["MODEL.DEVICE", "cpu"]
    speeds: dict[str, Speed] = {}
    for chain in chains(recipe):
        estimates = []
        for step in chain.steps:
            cfg = load_config(str(folder / f"{step.estimated_as or step.run}.yaml"), here)
            if step.model not in speeds:
                try:
                    speeds[step.model] = measure_speed(cfg, timed=is_timed)
                except torch.OutOfMemoryError as error:
                    raise ValueError(
                        f"{cfg.SOLVER.IMS_PER_BATCH} images per step do not fit the memory of this "
                        f"GPU (step {step.run}). The configs are written: halve "
                        "SOLVER.IMS_PER_BATCH and SOLVER.BASE_LR in them and double "
                        "SOLVER.MAX_ITER, or free the GPU."
                    ) from error
            if step.verb == "search":
                estimates.append(estimate_search(cfg, speeds[step.model], archval))
            else:
                estimates.append(estimate_training(cfg, speeds[step.model]))
        yield ChainEstimate(chain, tuple(estimates))
