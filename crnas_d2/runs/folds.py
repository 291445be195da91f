"""Networks that were trained on all folds of a dataset, so that each image is tested once."""

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog

from crnas_d2.common.errors import invalid
from crnas_d2.config import spell
from crnas_d2.evaluation import DetectionMatches, difference_interval, resampled_images

from .comparison import (
    Interval,
    average_precision,
    check_unchanged,
    read_matches,
    run_evaluator,
)
from .run import Run, load_run


@dataclass(frozen=True)
class FoldedRun:
    """The trainings of one network, one for each fold, in the order of their test sets."""

    name: str
    runs: Sequence[Run]
    results: DetectionMatches  # on the test images of all folds

    @property
    def ap(self) -> float:
        """AP over the images of all folds together, in percent."""
        return average_precision(self.results)

    @property
    def macs(self) -> float:
        """MACs of the body, mean over the folds, whose found networks may differ."""
        return float(np.mean([run.cost.macs for run in self.runs]))


@dataclass(frozen=True)
class FoldComparison:
    """Networks that were trained on the same folds; the others are compared with the first."""

    networks: Sequence[FoldedRun]

    @classmethod
    def of(cls, networks: Sequence[FoldedRun]) -> "FoldComparison":
        """Compare networks; raise ValueError if they were tested on different folds."""
        first, *others = networks
        for other in others:
            if (ours := _tests(first)) != (theirs := _tests(other)):
                raise ValueError(
                    f"{first.name} and {other.name} cannot be compared: they were tested on {ours} "
                    f"and {theirs}; expected the same folds."
                )
        return cls(networks)

    @property
    def num_images(self) -> int:
        return self.networks[0].results.num_images

    def interval(self, network: FoldedRun) -> Interval:
        """Return the 95 % interval over images of the difference in AP to the first network."""
        counts, reference = resampled_images(self.num_images), self.networks[0]
        samples = network.results.scores(counts), reference.results.scores(counts)
        return difference_interval(network.ap, samples[0], reference.ap, samples[1])


def is_folded(folder: str) -> bool:
    """Whether the user names several folders by a pattern."""
    return glob.has_magic(folder) and not Path(folder).is_dir()


def load_folds(name: str, pattern: str) -> FoldedRun:
    """Read the finished trainings in the folders of a pattern, e.g. ``cells/fold*/output/found``.

    Raises:
        ValueError: one is not finished or has no detections, their classes differ, or an image is
            tested twice.
    """
    folders = sorted(glob.glob(pattern))
    if len(folders) < 2:
        but = f"it is that of {folders}"
        raise invalid(name, pattern, "the pattern of two folders or more", but=but)
    return read_folds(name, folders)


def read_folds(name: str, folders: Sequence[str | Path]) -> FoldedRun:
    """Read the finished trainings in some folders, see :func:`load_folds`."""
    runs = sorted((load_run(name, folder) for folder in folders), key=lambda run: run.dataset)
    tested: dict[str, Run] = {}
    parts = []
    for run in runs:
        if other := next((r for r in tested.values() if r.dataset == run.dataset), None):
            both = f"{other.folder} and {run.folder} are both tested on {run.dataset}"
            raise ValueError(f"{name}: {both}; expected a test set for each fold.")
        if run.detections is None:
            command = spell("train", "--eval-only", "--config-file", run.folder / "config.yaml")
            raise ValueError(
                f"{run.folder} has no {run.detections_file.name}. Evaluate it: {command}"
            )
        for image in DatasetCatalog.get(run.dataset):
            if (other := tested.setdefault(image["file_name"], run)) is not run:
                both = f"{other.dataset} and in {run.dataset}"
                raise ValueError(
                    f"{image['file_name']} is in {both}; test sets of folds share no image."
                )
        classes, ours = (MetadataCatalog.get(r.dataset).thing_classes for r in (run, runs[0]))
        if classes != ours:
            raise invalid(f"The classes of {run.dataset}", classes, f"those of {runs[0].dataset}")
        if not run.detections:
            raise ValueError(
                f"{run.detections_file} holds no detections: train {run.folder} longer."
            )
        parts.append(read_matches(run, run_evaluator(run)))
    for run, part in zip(runs, parts, strict=True):
        check_unchanged(run, average_precision(part))
    return FoldedRun(name, runs, DetectionMatches.joined(parts))


def _tests(network: FoldedRun) -> list[str]:
    return [run.dataset for run in network.runs]
