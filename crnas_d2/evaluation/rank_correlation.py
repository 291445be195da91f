"""How well scores rank networks: rank correlations with confidence intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from crnas_d2.common.errors import invalid
from crnas_d2.evaluation import resampled_images


@dataclass(frozen=True)
class Correlation:
    """Kendall's tau-b and Spearman's rho of a number of networks, with their 95 % intervals.

    Intervals, (low, high), are over resampled networks; tau-b corrects for ties.
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
    tau, rho = (float(of(*values, once)[0]) for of in (_taus, _rhos))
    tau_interval, rho_interval = (_middle(of(*values, drawn)) for of in (_taus, _rhos))
    return Correlation(tau, tau_interval, rho, rho_interval, len(truth))


def _taus(truth: np.ndarray, scores: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return Kendall's tau-b of samples that hold each network ``counts`` times, ``(S, N)``."""
    ours, theirs = (np.sign(values[:, None] - values) for values in (truth, scores))
    both, own, other = (
        ((counts @ signs) * counts).sum(axis=1) for signs in (ours * theirs, ours**2, theirs**2)
    )
    with np.errstate(invalid="ignore"):  # NaN for a sample that repeats one network
        return both / np.sqrt(own * other)


def _rhos(truth: np.ndarray, scores: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return Spearman's rho of such samples: the correlation of their ranks."""
    ours, theirs = (_centred_ranks(values, counts) for values in (truth, scores))
    both, own, other = (
        (counts * products).sum(axis=1) for products in (ours * theirs, ours**2, theirs**2)
    )
    with np.errstate(invalid="ignore"):
        return both / np.sqrt(own * other)


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
