"""How well scores rank networks: rank correlations with confidence intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Correlation", "rank_correlation"]


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
    """Correlate the ranks of the same networks in two lists.

    Args:
        samples: number of samples with replacement for the intervals (percentile bootstrap).

    Raises:
        ValueError: fewer than three networks.
    """
    if len(truth) != len(scores) or len(truth) < 3:
        raise ValueError(
            f"There are {len(truth)} true and {len(scores)} predicted scores; expected as many of "
            "both, at least 3."
        )
    from scipy.stats import kendalltau, spearmanr  # here, because its import takes long

    truth, scores = np.asarray(truth, float), np.asarray(scores, float)
    random = np.random.default_rng(seed)
    taus, rhos = [], []
    for _ in range(samples):
        chosen = random.integers(len(truth), size=len(truth))
        # Undefined if all of a list are equal, e.g. in a sample that repeats one network.
        if np.ptp(truth[chosen]) > 0 and np.ptp(scores[chosen]) > 0:
            taus.append(kendalltau(truth[chosen], scores[chosen]).statistic)
            rhos.append(spearmanr(truth[chosen], scores[chosen]).statistic)
    return Correlation(
        float(kendalltau(truth, scores).statistic),
        _middle(taus),
        float(spearmanr(truth, scores).statistic),
        _middle(rhos),
        len(truth),
    )


def _middle(values: Sequence[float]) -> tuple[float, float]:
    """Return the limits of the middle 95 %."""
    low, high = np.percentile(values, [2.5, 97.5]) if values else (np.nan, np.nan)
    return float(low), float(high)


def _with_interval(value: float, interval: tuple[float, float]) -> str:
    return f"{value:.2f} [{interval[0]:.2f}, {interval[1]:.2f}]"
