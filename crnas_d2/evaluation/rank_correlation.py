"""How well scores rank networks: rank correlations with confidence intervals."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from crnas_d2.common.errors import invalid

from .bootstrap import resampled_images

_LEAST = 5  # networks of an interval


@dataclass(frozen=True)
class Correlation:
    """Kendall's tau-b and Spearman's rho of a number of networks, with their 95 % intervals.

    Intervals, (low, high), are over resampled networks, and NaN for fewer than five, of which no
    order says anything: four in a row are so by chance once in 24 times. Tau-b corrects for ties.
    """

    tau: float
    tau_interval: tuple[float, float]
    rho: float
    rho_interval: tuple[float, float]
    number: int

    @property
    def tau_text(self) -> str:
        return _with_interval(self.tau, self.tau_interval)

    @property
    def rho_text(self) -> str:
        return _with_interval(self.rho, self.rho_interval)


def rank_correlation(
    truth: Sequence[float], scores: Sequence[float], *, samples: int = 2_000, seed: int = 0
) -> Correlation:
    """Correlate the ranks of at least three networks in two lists.

    Intervals are percentiles of a bootstrap: ``samples`` with replacement.
    """
    if len(truth) != len(scores) or len(truth) < 3:
        numbers = len(truth), len(scores)
        raise invalid("The number of networks in the lists", numbers, "the same, at least 3")
    values = np.asarray(truth, float), np.asarray(scores, float)
    once = np.ones((1, len(truth)))
    drawn = resampled_images(len(truth), samples, seed).astype(float)  # of networks
    found: list[Any] = []
    for correlations in (_taus, _rhos):
        defined = correlations(*values, drawn)
        defined = defined[np.isfinite(defined)]
        is_known = len(defined) > 0 and len(truth) >= _LEAST
        low, high = np.percentile(defined, [2.5, 97.5]) if is_known else (np.nan, np.nan)
        found += [float(correlations(*values, once)[0]), (float(low), float(high))]
    return Correlation(*[*found, len(truth)])


def _taus(truth: np.ndarray, scores: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return Kendall's tau-b of samples that hold each network ``counts`` times, ``(S, N)``."""
    ours, theirs = (np.sign(values[:, None] - values) for values in (truth, scores))
    return _cosines(ours, theirs, lambda signs: ((counts @ signs) * counts).sum(axis=1))


def _rhos(truth: np.ndarray, scores: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return Spearman's rho of such samples: the correlation of their ranks."""
    centred = []
    for values in (truth, scores):
        below = (values < values[:, None]) + 0.5 * (values == values[:, None])
        ranks, number = counts @ below.T, counts.sum(axis=1, keepdims=True)
        centred.append(ranks - (counts * ranks).sum(axis=1, keepdims=True) / number)
    ours, theirs = centred
    return _cosines(ours, theirs, lambda products: (counts * products).sum(axis=1))


def _cosines(
    ours: np.ndarray, theirs: np.ndarray, total: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    both, own, other = map(total, (ours * theirs, ours**2, theirs**2))
    with np.errstate(invalid="ignore"):  # NaN for a sample that repeats one network
        return both / np.sqrt(own * other)


def _with_interval(value: float, interval: tuple[float, float]) -> str:
    if not np.isfinite(interval).all():
        return f"{round(value, 2) + 0.0:.2f} (too few for an interval)"
    middle, low, high = (f"{round(each, 2) + 0.0:.2f}" for each in (value, *interval))  # not -0.00
    return f"{middle} [{low}, {high}]"
