"""How well scores rank networks: rank correlations with confidence intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from crnas_d2.common.errors import invalid
from crnas_d2.evaluation import resampled_images


@dataclass(frozen=True)
class Correlation:
    """Rank correlations of two lists, and their 95 % intervals over resampled networks.

    Attributes:
        tau: Kendall's tau-b, which corrects for ties.
        tau_interval: (low, high).
        rho: Spearman's.
        rho_interval: (low, high).
        number: of networks.
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

    Args:
        samples: number of samples with replacement for the intervals (percentile bootstrap).

    Raises:
        ValueError: fewer networks.
    """
    if len(truth) != len(scores) or len(truth) < 3:
        numbers = len(truth), len(scores)
        raise invalid("The number of networks in the lists", numbers, "the same, at least 3")
    values = np.asarray(truth, float), np.asarray(scores, float)
    once = np.ones((1, len(truth)))
    drawn = resampled_images(len(truth), samples, seed).astype(float)  # of networks
    return Correlation(
        float(_taus(*values, once)[0]),
        _middle(_taus(*values, drawn)),
        float(_rhos(*values, once)[0]),
        _middle(_rhos(*values, drawn)),
        len(truth),
    )


def _taus(truth: np.ndarray, scores: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return Kendall's tau-b of samples that hold each network ``counts`` times, ``(S, N)``."""
    ours, theirs = (np.sign(values[:, None] - values) for values in (truth, scores))

    def over_pairs(signs: np.ndarray) -> np.ndarray:
        return ((counts @ signs) * counts).sum(axis=1)

    with np.errstate(invalid="ignore"):  # NaN for a sample that repeats one network
        return over_pairs(ours * theirs) / np.sqrt(over_pairs(ours**2) * over_pairs(theirs**2))


def _rhos(truth: np.ndarray, scores: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return Spearman's rho of such samples: the correlation of their ranks."""
    ours, theirs = (_centred_ranks(values, counts) for values in (truth, scores))

    def mean(products: np.ndarray) -> np.ndarray:
        return (counts * products).sum(axis=1)

    with np.errstate(invalid="ignore"):
        return mean(ours * theirs) / np.sqrt(mean(ours**2) * mean(theirs**2))


def _centred_ranks(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the rank of each network in each sample, ``(S, N)``, less the mean of the sample."""
    below = (values < values[:, None]) + 0.5 * (values == values[:, None])
    ranks = counts @ below.T
    return ranks - (counts * ranks).sum(axis=1, keepdims=True) / counts.sum(axis=1, keepdims=True)


def _middle(values: np.ndarray) -> tuple[float, float]:
    """Return the limits of the middle 95 % of those that are defined."""
    values = values[np.isfinite(values)]
    low, high = np.percentile(values, [2.5, 97.5]) if len(values) else (np.nan, np.nan)
    return float(low), float(high)


def _with_interval(value: float, interval: tuple[float, float]) -> str:
    middle, low, high = (f"{round(each, 2) + 0.0:.2f}" for each in (value, *interval))  # not -0.00
    return f"{middle} [{low}, {high}]"
