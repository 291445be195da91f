"""Whether trained networks differ by more than the noise of the images and of the seeds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
from detectron2.data import DatasetCatalog
from PIL import Image, ImageOps

from crnas_d2.evaluation import (
    FastCOCOEvaluator,
    difference_interval,
    resampled_images,
    student_quantile,
)

from .origin import Origin
from .run import Run, group_by_setup

Interval = tuple[float, float]
_MAIN = "bbox/AP"


@dataclass(frozen=True)
class TrainedNetwork:
    """Trainings of one network, which differ in their seeds only.

    ``resampled`` is their mean AP on samples of the test images; ``None`` if it is not known.
    """

    runs: Sequence[Run]
    resampled: np.ndarray | None = None

    @property
    def name(self) -> str:
        return ", ".join(run.name for run in self.runs)

    @property
    def scores(self) -> np.ndarray:
        return np.array([run.ap for run in self.runs])

    @property
    def ap(self) -> float:
        return float(self.scores.mean())


@dataclass(frozen=True)
class Comparison:
    """Runs that were tested on one dataset, with their costs for images of one size.

    Attributes:
        networks: the first one is that which the others are compared with.
        num_images: of the test set, 0 if the detections of a run are missing.
        spread: standard deviation of one training over its seeds, pooled; NaN if it is not known.
        freedom: degrees of freedom of ``spread``.
    """

    runs: Sequence[Run]
    networks: Sequence[TrainedNetwork]
    num_images: int
    spread: float
    freedom: int

    @classmethod
    def of(cls, runs: Sequence[Run]) -> "Comparison":
        """Compare runs, that of the reference first.

        Raises:
            ValueError: runs tested on different datasets, or with costs at different input sizes.
        """
        check_comparable(runs)
        resampled, num_images = _resample(runs)
        networks = []
        for group in group_by_setup(runs):
            known = [resampled[run.name] for run in group] if resampled else []
            networks.append(TrainedNetwork(group, np.mean(known, axis=0) if known else None))
        freedom = sum(len(network.runs) - 1 for network in networks)
        squares = sum(float(np.var(network.scores)) * len(network.runs) for network in networks)
        spread = math.sqrt(squares / freedom) if freedom else math.nan
        return cls(runs, networks, num_images, spread, freedom)

    @property
    def dataset(self) -> str:
        return self.runs[0].dataset

    @property
    def origin(self) -> Origin:
        seeds, folders = [run.cfg.SEED for run in self.runs], [run.folder for run in self.runs]
        seconds = sum(run.log.seconds for run in self.runs)
        return Origin(folders, seeds, "trainings, summed", seconds)

    def image_interval(self, network: TrainedNetwork) -> Interval | None:
        """Return the 95 % interval over images of the difference to the reference, if known."""
        reference = self.networks[0]
        if network.resampled is None or reference.resampled is None:
            return None
        return difference_interval(network.ap, network.resampled, reference.ap, reference.resampled)

    def seed_interval(self, network: TrainedNetwork) -> Interval | None:
        """Return the 95 % interval over seeds of the difference to the reference, if known."""
        if not self.freedom:
            return None
        reference = self.networks[0]
        half = student_quantile(self.freedom) * self.spread
        half *= math.sqrt(1 / len(network.runs) + 1 / len(reference.runs))
        difference = network.ap - reference.ap
        return difference - half, difference + half

    def sampled_images(self, number: int) -> list[tuple[Mapping[str, Any], Image.Image]]:
        """Return some test images, always the same: Detectron2's dict, and the upright picture."""
        images = DatasetCatalog.get(self.dataset)
        chosen = Random(0).sample(images, min(number, len(images)))
        return [(image, upright_picture(image["file_name"])) for image in chosen]


def check_comparable(runs: Sequence[Run]) -> None:
    """Check that the scores and costs of runs may stand in one table.

    Raises:
        ValueError: they were tested on different datasets, or cost at different input sizes.
    """
    first = runs[0]
    for run in runs[1:]:
        for key, ours, theirs in (
            ("DATASETS.TEST", (first.dataset,), (run.dataset,)),
            ("SEARCH.COST_INPUT_SIZE", first.input_size, run.input_size),
        ):
            if ours != theirs:
                raise ValueError(
                    f"{first.name} and {run.name} cannot be compared: their {key} is {ours} and "
                    f"{theirs}; expected the same."
                )


def upright_picture(path: str) -> Image.Image:
    """Read an image as the detector sees it: upright, in RGB; grey of more bits is scaled to 8."""
    with Image.open(path) as stored:
        picture = ImageOps.exif_transpose(stored)
        if picture.mode[0] in "IF":
            values = np.asarray(picture, dtype=float)
            low, high = values.min(), values.max()
            scaled = 255 * (values - low) / max(high - low, 1e-12)
            picture = Image.fromarray(scaled.astype(np.uint8))
        return picture.convert("RGB")


def _resample(runs: Sequence[Run]) -> tuple[dict[str, np.ndarray], int]:
    """Return the AP of the runs on the same samples of the images, and their number."""
    detections = {run.name: run.detections for run in runs}
    if not all(detections.values()):
        return {}, 0
    settings: dict[str, Any] = {"tasks": ("bbox",), "distributed": False, "keeps_images": True}
    evaluator = FastCOCOEvaluator(runs[0].dataset, **settings)
    resampled, num_images = {}, 0
    for name, found in detections.items():
        results = evaluator.image_results_of(list(found or ()), _MAIN)
        assert results is not None
        num_images = results.num_images
        resampled[name] = results.scores(resampled_images(num_images))
    return resampled, num_images
