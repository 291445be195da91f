"""Whether trained networks differ by more than the noise of the images and of the seeds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from crnas_d2.config import spell
from crnas_d2.data.images.pixels import read_pixels
from crnas_d2.evaluation import (
    DetectionMatches,
    FastCOCOEvaluator,
    difference_interval,
    resampled_images,
    score_interval,
    student_quantile,
)

from .metrics import MAIN
from .mistakes import Mistakes
from .run import Origin, Run

Interval = tuple[float, float]
_ROUNDING = 0.01  # of an AP


@dataclass(frozen=True)
class TrainedNetwork:
    """Trainings of one network, which differ in their seeds only."""

    runs: Sequence[Run]
    resampled: np.ndarray | None = None  # their mean AP on samples of the test images, if known

    @property
    def name(self) -> str:
        return ", ".join(run.name for run in self.runs)

    @property
    def scores(self) -> np.ndarray:
        return np.array([run.ap for run in self.runs])

    @property
    def ap(self) -> float:
        return float(self.scores.mean())

    @property
    def interval(self) -> Interval | None:
        """The 95 % interval of the AP over images, if it is known."""
        return None if self.resampled is None else score_interval(self.ap, self.resampled)


@dataclass(frozen=True)
class Comparison:
    """Runs that were tested on one dataset, with their costs for images of one size.

    Those whose image size was searched cost what they do at that size.
    """

    runs: Sequence[Run]
    networks: Sequence[TrainedNetwork]  # first that which the others are compared with
    num_images: int  # of the test set, 0 if the detections of a run are missing
    spread: float  # standard deviation over seeds, pooled; NaN if it is not known
    freedom: int  # degrees of freedom of the spread
    recomputed: Mapping[str, float]  # the AP that detections have now, by the name of the run

    @classmethod
    def of(cls, runs: Sequence[Run]) -> "Comparison":
        """Compare runs, that of the reference first.

        Raises ValueError if they were tested on different datasets, or cost at different sizes.
        """
        first = runs[0]
        for run in runs[1:]:
            # A network whose image size was searched costs what it costs at that size.
            at_own_size = any(each.spec.genotype.image_size for each in (first, run))
            for key, ours, theirs, may_differ in (
                ("DATASETS.TEST", (first.dataset,), (run.dataset,), False),
                ("SEARCH.COST_INPUT_SIZE", first.input_size, run.input_size, at_own_size),
            ):
                if ours != theirs and not may_differ:
                    why = f"their {key} is {ours} and {theirs}; expected the same."
                    raise ValueError(f"{first.name} and {run.name} cannot be compared: {why}")
        recomputed, resampled, num_images = _resample(runs)
        groups: dict[str, list[Run]] = {}
        for run in runs:
            groups.setdefault(run.setup, []).append(run)
        networks = []
        for group in groups.values():
            known = [resampled[run.name] for run in group] if resampled else []
            networks.append(TrainedNetwork(group, np.mean(known, axis=0) if known else None))
        spread, freedom = pooled_deviation([network.scores for network in networks])
        return cls(runs, networks, num_images, spread, freedom, recomputed)

    def check_unchanged(self) -> None:
        """Raise ValueError for a run whose AP is not that of its detections on the test file."""
        for run in self.runs:
            check_unchanged(run, self.recomputed.get(run.name, run.ap))

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
        return self._with_pictures(Random(0).sample(images, min(number, len(images))))

    def images_with(self, ids: Sequence[Any]) -> list[tuple[Mapping[str, Any], Image.Image]]:
        """Return the test images with these ids, in their order, as :meth:`sampled_images`."""
        images = {image["image_id"]: image for image in DatasetCatalog.get(self.dataset)}
        return self._with_pictures([images[id_] for id_ in ids])

    def mistakes(self) -> dict[str, Mistakes]:
        """Return what the detections of each run get wrong, by its name."""
        images = DatasetCatalog.get(self.dataset)
        to_index = MetadataCatalog.get(self.dataset).thing_dataset_id_to_contiguous_id
        return {run.name: Mistakes.of(images, run.detections or (), to_index) for run in self.runs}

    def _with_pictures(
        self, images: Sequence[Mapping[str, Any]]
    ) -> list[tuple[Mapping[str, Any], Image.Image]]:
        depth_range = self.runs[0].cfg.INPUT.DEPTH_RANGE
        return [
            (image, Image.fromarray(read_pixels(image["file_name"], "RGB", depth_range)))
            for image in images
        ]


def check_unchanged(run: Run, now: float) -> None:
    """Raise ValueError if the recorded AP is not that of its detections on the test file now."""
    # The AP of no detections is 0, or not a number.
    if abs(now - run.ap) > _ROUNDING or (math.isnan(run.ap) and now > _ROUNDING):
        raise ValueError(
            f"The {MAIN} of {run.name} is {run.ap:.2f} in {run.folder}/metrics.json, but its "
            f"detections have {now:.2f} on '{run.dataset}' as it is now: the test file, the "
            f"detections or the metrics have changed. {_again(run)}"
        )


def read_matches(run: Run, evaluator: FastCOCOEvaluator) -> DetectionMatches:
    """Return what the detections of a run match in the test file as it is now.

    Raises ValueError for detections of other images or categories.
    """
    try:
        results = evaluator.image_results_of(list(run.detections or ()), MAIN)
    except KeyError as error:
        raise ValueError(
            f"{run.detections_file} has detections of image or category {error}, which "
            f"'{run.dataset}' does not have: the test file has changed. {_again(run)}"
        ) from error
    assert results is not None
    return results


def average_precision(results: DetectionMatches) -> float:
    """Return the AP over all images, in percent."""
    return float(results.scores(np.ones((1, results.num_images), int))[0])


def _again(run: Run) -> str:
    return f"Evaluate {run.name} again with {spell('train', '--resume')}, or leave it out."


def pooled_deviation(networks: Sequence[Sequence[float] | np.ndarray]) -> tuple[float, int]:
    """Return the standard deviation of one training over its seeds, and its degrees of freedom.

    Args:
        networks: the scores of the trainings of each; NaN and 0 if none was trained twice.
    """
    freedom = sum(len(scores) - 1 for scores in networks)
    # Squared deviations from each network's mean over degrees of freedom.
    squares = sum(float(np.var(scores)) * len(scores) for scores in networks)
    return (math.sqrt(squares / freedom), freedom) if freedom else (math.nan, 0)


def run_evaluator(run: Run) -> FastCOCOEvaluator:
    """Return the evaluator of the test set of a run, for :func:`read_matches`."""
    settings: dict[str, Any] = {"tasks": ("bbox",), "distributed": False, "keeps_images": True}
    most = run.cfg.TEST.DETECTIONS_PER_IMAGE
    return FastCOCOEvaluator(run.dataset, **settings, max_detections=most)


def _resample(runs: Sequence[Run]) -> tuple[dict[str, float], dict[str, np.ndarray], int]:
    """Return the AP of detections now, that on the same samples of the images, and their number.

    Without detections of a run, nothing is known of samples.
    """
    evaluators: dict[int, FastCOCOEvaluator] = {}  # of usually one limit of detections
    recomputed: dict[str, float] = {}
    resampled, num_images = {}, 0
    for run in runs:
        if not run.detections:
            recomputed |= {run.name: 0.0} if run.detections is not None else {}
            continue
        most = run.cfg.TEST.DETECTIONS_PER_IMAGE
        if most not in evaluators:
            evaluators[most] = run_evaluator(run)
        results = read_matches(run, evaluators[most])
        num_images = results.num_images
        if run.dataset not in run.cfg.DATASETS.ARCHVAL:  # of which twins may be left out
            recomputed[run.name] = average_precision(results)
        resampled[run.name] = results.scores(resampled_images(num_images))
    is_known = len(resampled) == len(runs)
    return recomputed, resampled if is_known else {}, num_images if is_known else 0
