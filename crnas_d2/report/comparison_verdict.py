"""Whether trained networks differ by more than the noise of the images and of the seeds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from crnas_d2.common.formats import format_quantity
from crnas_d2.config import changed_settings
from crnas_d2.evaluation import (
    FastCOCOEvaluator,
    difference_interval,
    resampled_images,
    student_quantile,
)
from crnas_d2.runs.run import Run

_METRIC = "bbox/AP"
# What may differ between two trainings of one network that only differ in their seed.
_OF_A_RUN = ("SEED", "OUTPUT_DIR", "MODEL.WEIGHTS", "MODEL.DEVICE", "DATALOADER.NUM_WORKERS")


@dataclass(frozen=True)
class _Network:
    """Trainings that differ in their seeds.

    Attributes:
        resampled: their mean score on samples of the test images; ``None`` if it is not known.
    """

    runs: tuple[Run, ...]
    resampled: np.ndarray | None

    @property
    def name(self) -> str:
        return ", ".join(run.name for run in self.runs)

    @property
    def scores(self) -> np.ndarray:
        return np.array([run.metrics[_METRIC] for run in self.runs])


def comparison_verdict(
    runs: Sequence[Run], predictions: Mapping[str, Sequence[Mapping]], dataset: str
) -> list[str]:
    """Return sentences that compare each network with that of the first run.

    Args:
        predictions: by name of the run, in COCO's format; of all runs or empty.
        dataset: on which they were tested.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(recipe(run), []).append(run)
    resampled, num_images = _resample(predictions, dataset)
    networks = [
        _Network(tuple(group), _mean([resampled[run.name] for run in group]) if resampled else None)
        for group in groups.values()
    ]
    reference, *others = networks
    if not others:
        scores = reference.scores
        text = f"{reference.name}: AP {scores.mean():.2f} on {dataset}"
        if len(scores) > 1:
            text += f", standard deviation {scores.std(ddof=1):.2f} over {len(scores)} seeds"
        return [f"{text}."]
    spread, freedom = _spread_of_seeds(networks)
    return [
        line
        for other in others
        for line in _compare(other, reference, spread, freedom, num_images, dataset)
    ]


def recipe(run: Run) -> str:
    """Return what two trainings that only differ in their seeds have in common."""
    settings = {k: v for k, v in changed_settings(run.cfg).items() if k not in _OF_A_RUN}
    return repr((run.spec.genotype, bool(run.cfg.MODEL.WEIGHTS), sorted(settings.items(), key=str)))


def _resample(
    predictions: Mapping[str, Sequence[Mapping]], dataset: str
) -> tuple[dict[str, np.ndarray], int]:
    """Return the scores of the runs on the same samples of the images, and their number."""
    if not predictions or not all(predictions.values()):
        return {}, 0
    evaluator = FastCOCOEvaluator(dataset, tasks=("bbox",), distributed=False, keeps_images=True)
    resampled, num_images = {}, 0
    for name, predicted in predictions.items():
        results = evaluator.image_results_of(list(predicted), _METRIC)
        num_images = results.num_images
        resampled[name] = results.scores(resampled_images(num_images))
    return resampled, num_images


def _mean(scores: Sequence[np.ndarray]) -> np.ndarray:
    return np.mean(scores, axis=0)


def _spread_of_seeds(networks: Sequence[_Network]) -> tuple[float, int]:
    """Return the pooled standard deviation of one training, and its degrees of freedom."""
    freedom = sum(len(network.runs) - 1 for network in networks)
    squares = sum(float(np.var(network.scores)) * len(network.runs) for network in networks)
    return (math.sqrt(squares / freedom), freedom) if freedom else (math.nan, 0)


def _compare(
    other: _Network,
    reference: _Network,
    spread: float,
    freedom: int,
    num_images: int,
    dataset: str,
) -> list[str]:
    ours, theirs = float(other.scores.mean()), float(reference.scores.mean())
    difference = ours - theirs
    cost, base = other.runs[0].cost, reference.runs[0].cost
    lines = [
        f"{other.name}, {_blocks(other)}: AP {ours:.2f} on {dataset}, {abs(difference):.2f} "
        f"{'more' if difference >= 0 else 'less'} than {reference.name}, {_blocks(reference)} "
        f"({theirs:.2f}), with "
        f"{100 * cost.macs / base.macs:.0f} % of its MACs ({format_quantity(cost.macs)} of "
        f"{format_quantity(base.macs)}) and {100 * cost.parameters / base.parameters:.0f} % of its "
        "parameters in the body."
    ]
    if other.resampled is None or reference.resampled is None:
        lines.append("Whether that exceeds the noise of the test images is not known.")
    else:
        low, high = difference_interval(ours, other.resampled, theirs, reference.resampled)
        lines.append(
            f"That {_exceeds(low, high)} the noise of the {num_images:,} test images: the 95 % "
            f"interval of the difference is {low:.2f} to {high:.2f}."
        )
    if not freedom:
        lines.append(
            "The noise of the seeds is not known, because each network was trained once: train "
            "both with several seeds (SEED) and name all runs."
        )
        return lines
    half = student_quantile(freedom) * spread
    half *= math.sqrt(1 / len(other.runs) + 1 / len(reference.runs))
    low, high = difference - half, difference + half
    lines.append(
        f"It {_exceeds(low, high)} the noise of the seeds ({len(other.runs)} and "
        f"{len(reference.runs)} trainings, standard deviation {spread:.2f}): {low:.2f} to "
        f"{high:.2f}."
    )
    return lines


def _blocks(network: _Network) -> str:
    return str(list(network.runs[0].spec.genotype.depths))


def _exceeds(low: float, high: float) -> str:
    return "does not exceed" if low <= 0 <= high else "exceeds"
