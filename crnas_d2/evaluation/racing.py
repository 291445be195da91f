"""Racing: scoring a candidate on growing parts of archval until it cannot win any more."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from statistics import NormalDist

import numpy as np

from crnas_d2.common.errors import invalid
from crnas_d2.search import Stopped

from .bootstrap import ImageResults, resampled_images

_FEWEST = 50  # images, below which a bootstrap says little
_SAMPLES = 200  # of the images, from which the spread of a difference is estimated
_samples = cache(resampled_images)


def pauses(num_batches: int, shares: Sequence[float], batch_size: int) -> list[int]:
    """Return after which numbers of batches a race compares a candidate with its rival.

    Raise ValueError if archval is too small for any of its shares.
    """
    numbers = {round(share * num_batches) for share in shares}
    useful = sorted(n for n in numbers if n * batch_size >= _FEWEST and n < num_batches)
    if not useful:
        raise invalid(
            "SEARCH.RACING.SHARES",
            list(shares),
            but=f"archval has about {num_batches * batch_size:,} images in batches of "
            f"{batch_size}, so that none of its parts has {_FEWEST} images",
            fix="Set SEARCH.RACING.ENABLED to False",
        )
    return useful


def cannot_win(
    scores: np.ndarray, rival_scores: np.ndarray, share: float, confidence: float
) -> bool:
    """Whether a candidate will score less than its rival on all images, judging by some of them.

    The spread of the difference over samples with replacement is that of images drawn from
    infinitely many; that of what is still open is smaller by the root of ``1 - share`` (the finite
    population correction).

    Args:
        scores, rival_scores: on the images seen, then on samples of them, the same ones for both,
            ``(1 + samples,)``.
        share: of all images that were seen, below 1.
        confidence: probability with which it has to stay behind.
    """
    difference, *resampled = scores - rival_scores
    resampled = np.array(resampled)[np.isfinite(resampled)]
    if not len(resampled):
        return False
    spread = float(np.std(resampled)) * (1 - share) ** 0.5
    return bool(difference + NormalDist().inv_cdf(confidence) * spread < 0)


@dataclass(frozen=True, eq=False)
class Rival:
    """A candidate that was scored on all images, which another one has to reach."""

    fitness: float
    results: ImageResults
    _scores: dict[int, np.ndarray] = field(default_factory=dict)

    def scores(self, images: np.ndarray) -> np.ndarray:
        """Return the score on a part of the images, then on samples of it, ``(1 + samples,)``.

        Of two parts that are asked for, one holds the other.
        """
        if len(images) not in self._scores:
            self._scores[len(images)] = _scores(self.results.subset(images))
        return self._scores[len(images)]


@dataclass(frozen=True)
class Race:
    """Decides during the evaluation of a candidate whether to go on."""

    metric: str  # the fitness
    pauses: Sequence[int]  # the numbers of batches after which it decides
    confidence: float  # see :func:`cannot_win`
    find_rival: Callable[[], Rival | None]  # returns the candidate to reach, if there is one yet

    def judge(self, results: ImageResults, images: np.ndarray, share: float) -> Stopped | None:
        """Stop an evaluation, with an estimate of the fitness; return ``None`` to go on.

        The estimate is the fitness of the rival plus the difference on the images seen, a share of
        all images. Their indices are in the order of their results.
        """
        if (rival := self.find_rival()) is None:
            return None
        scores, rival_scores = _scores(results), rival.scores(images)
        if not cannot_win(scores, rival_scores, share, self.confidence):
            return None
        estimate = max(0.0, rival.fitness + float(scores[0] - rival_scores[0]))
        below = float(np.nextafter(rival.fitness, -np.inf))
        return Stopped(min(estimate, below), len(images))


def _scores(results: ImageResults) -> np.ndarray:
    """Return the scores of the whole, then of samples of it."""
    whole = np.ones((1, results.num_images), int)
    return results.scores(np.concatenate([whole, _samples(results.num_images, _SAMPLES)]))
