"""Where results come from: date, versions, settings and time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import detectron2
import torch

from crnas_d2.common.formats import format_duration


def own_version() -> str:
    """Return the version of this package, which a clone need not have installed."""
    try:
        return version("crnas_d2")
    except PackageNotFoundError:
        return "not installed"


@dataclass(frozen=True)
class Origin:
    """Where results come from: folders and seeds of runs, the work that took ``seconds``, more."""

    folders: Sequence[str | Path]
    seeds: Sequence[int]
    work: str
    seconds: float
    more: Mapping[str, str] = field(default_factory=dict)

    def facts(self) -> dict[str, str]:
        """Return names and values for the head of a report that is written now."""
        seeds = dict.fromkeys(str(seed) if seed >= 0 else "none set" for seed in self.seeds)
        return {
            "written": datetime.now().strftime("%Y-%m-%d %H:%M"),
            "versions": f"crnas_d2 {own_version()}, torch {torch.__version__}, "
            f"Detectron2 {detectron2.__version__}",
            "config": ", ".join(f"{folder}/config.yaml" for folder in self.folders),
            "seed": ", ".join(seeds),
            self.work: format_duration(self.seconds),
            **self.more,
        }
