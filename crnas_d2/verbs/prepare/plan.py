"""The plan of a prepared dataset: what each step will take, before anyone starts."""

from dataclasses import dataclass
from pathlib import Path

import torch
from tabulate import tabulate

from crnas_d2.common.formats import format_estimated_time, format_size
from crnas_d2.config import load_config
from crnas_d2.engine.estimate import (
    Estimate,
    Speed,
    estimate_search,
    estimate_training,
)
from crnas_d2.engine.measured_speed import measure_speed

from .chains import Chain, Step
from .recipe import Recipe

_DAY, _HOUR = 86400, 3600  # seconds
# Configs that wait for a genotype.yaml: their network costs at most as much as the one beside it.
_AS = {"found": "finetuned", "mixed": "pretrained", "searched": "scratch"}
# Whose models differ from the network that all others train.
_OTHERS = {"channels": "channels", "supernet": "supernet", "supernet_search": "supernet"}


@dataclass(frozen=True)
class Plan:
    """The steps of a chain, each with its estimate."""

    chain: Chain
    estimates: tuple[Estimate, ...]

    @property
    def seconds(self) -> float | None:
        """Of all steps together; ``None`` if unknown."""
        times = [estimate.seconds for estimate in self.estimates]
        return None if None in times else sum(times)

    def table(self) -> str:
        rows = [
            [
                step.run,
                e.work,
                format_estimated_time(e.seconds),
                format_size(e.memory),
                format_size(e.disk),
            ]
            for step, e in zip(self.chain.steps, self.estimates, strict=True)
        ]
        memory = [e.memory for e in self.estimates if e.memory is not None]
        disk = sum(e.disk for e in self.estimates)
        rows.append(
            [
                "all",
                "",
                format_estimated_time(self.seconds),
                format_size(max(memory, default=None)),
                format_size(disk),
            ]
        )
        return tabulate(rows, headers=["step", "work", "time", "memory", "disk"])

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


class Planner:
    """Estimates chains from their configs; each model is built and timed once.

    Attributes:
        is_timed: whether this machine has the device of the recipe; else times are unknown.

    Args:
        folder: of the configs, which have been written.
        archval: number of images in it.
    """

    def __init__(self, folder: Path, recipe: Recipe, archval: int):
        self.folder, self.archval = folder, archval
        self.is_timed = recipe.device == "cpu" or torch.cuda.is_available()
        self._speeds: dict[str, Speed] = {}

    def plan(self, chain: Chain) -> Plan:
        return Plan(chain, tuple(map(self._estimate, chain.steps)))

    def _estimate(self, step: Step) -> Estimate:
        cfg = self._load(_AS.get(step.run, step.run))
        model = _OTHERS.get(step.run, "network")
        if model not in self._speeds:
            try:
                self._speeds[model] = measure_speed(cfg, timed=self.is_timed)
            except torch.OutOfMemoryError as error:
                raise ValueError(
                    f"{cfg.SOLVER.IMS_PER_BATCH} images per step do not fit the memory of this GPU "
                    f"(step {step.run}). The configs are written: halve SOLVER.IMS_PER_BATCH and "
                    "SOLVER.BASE_LR in them and double SOLVER.MAX_ITER, or free the GPU."
                ) from error
        if step.verb == "search":
            return estimate_search(cfg, self._speeds[model], self.archval)
        return estimate_training(cfg, self._speeds[model])

    def _load(self, run: str):
        # Where there is no GPU, sizes are those of the model on the CPU.
        here = [] if torch.cuda.is_available() else ["MODEL.DEVICE", "cpu"]
        return load_config(str(self.folder / f"{run}.yaml"), here)
