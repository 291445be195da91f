"""How well scores rank networks: rank correlations with confidence intervals."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tabulate import tabulate

from crnas_d2.config import spell
from crnas_d2.space import Genotype

__all__ = ["Correlation", "describe_ranking", "rank_correlation", "read_entries"]


def read_entries(file: Path, key: str) -> list[dict]:
    """Read the list of a JSON file of ``crnas-d2 correlate``, ``{"command": ..., key: [...]}``.

    Raises:
        ValueError: no such file, or another content.
    """
    try:
        entries = json.loads(file.read_text())[key]
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{file} holds no list of {key}; expected a file that {spell('correlate')} has written."
        ) from error
    is_list = isinstance(entries, list)
    if not is_list or not all(isinstance(e, dict) and "genotype" in e for e in entries):
        raise ValueError(f"{file}: {key} is no list of results of {spell('correlate')}.")
    return entries


@dataclass(frozen=True)
class Correlation:
    """A rank correlation of two lists, and its 95 % interval over resampled networks.

    Attributes:
        tau: Kendall's tau-b, which corrects for ties.
        tau_interval: (low, high).
        rho: Spearman's.
        number: of networks.
    """

    tau: float
    tau_interval: tuple[float, float]
    rho: float
    number: int

    def __str__(self) -> str:
        low, high = self.tau_interval
        return f"{self.tau:.2f} [{low:.2f}, {high:.2f}]"


def rank_correlation(
    truth: Sequence[float], scores: Sequence[float], *, samples: int = 2_000, seed: int = 0
) -> Correlation:
    """Correlate the ranks of the same networks in two lists.

    Args:
        samples: number of samples with replacement for the interval (percentile bootstrap).

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
    taus = []
    for _ in range(samples):
        chosen = random.integers(len(truth), size=len(truth))
        tau = kendalltau(truth[chosen], scores[chosen]).statistic
        if np.isfinite(tau):  # undefined for a sample that repeats a single network
            taus.append(tau)
    low, high = np.percentile(taus, [2.5, 97.5]) if taus else (np.nan, np.nan)
    return Correlation(
        float(kendalltau(truth, scores).statistic),
        (float(low), float(high)),
        float(spearmanr(truth, scores).statistic),
        len(truth),
    )


def describe_ranking(results: Path, scores: Sequence[Path] = ()) -> str:
    """Describe stand-alone trainings: noise of seeds, spread, and how well scores rank them.

    MACs and parameters are listed beside the supernets: a supernet that ranks no better than MACs
    is of no use.

    Args:
        results: ``{"runs": [...]}``, from ``crnas-d2 correlate train``.
        scores: ``{"scores": [...]}``, from ``crnas-d2 correlate score``.
    """
    runs = defaultdict(list)
    for run in read_entries(results, "runs"):
        runs[Genotype.from_config(run["genotype"])].append(run)
    truth = {genotype: np.mean([run["AP"] for run in of]) for genotype, of in runs.items()}
    lines = [_describe_spread(runs, truth), _table(runs, truth)]
    rivals = {
        "MACs": {genotype: of[0]["macs"] for genotype, of in runs.items()},
        "parameters": {genotype: of[0]["params"] for genotype, of in runs.items()},
    }
    for path in scores:
        entries = read_entries(path, "scores")
        rivals[path.stem] = {Genotype.from_config(e["genotype"]): e["fitness"] for e in entries}
    rows = []
    for name, values in rivals.items():
        common = [genotype for genotype in truth if genotype in values]
        if len(common) >= 3 and len({values[genotype] for genotype in common}) > 1:
            found = rank_correlation([truth[g] for g in common], [values[g] for g in common])
            rows.append([name, found.number, str(found), f"{found.rho:.2f}"])
    head = ["ranked by", "networks", "Kendall's tau [95 %]", "Spearman's rho"]
    return "\n\n".join([*lines, tabulate(rows, headers=head, disable_numparse=True)])


def _describe_spread(runs: dict, truth: dict) -> str:
    repeated = [[run["AP"] for run in of] for of in runs.values() if len(of) > 1]
    spread = np.std(list(truth.values()), ddof=1) if len(truth) > 1 else float("nan")
    text = f"{len(truth)} networks, standard deviation of their means {spread:.2f} AP."
    if repeated:
        # Pooled variance: squared deviations from each network's mean over degrees of freedom.
        freedom = sum(len(scores) - 1 for scores in repeated)
        squares = sum(np.var(scores) * len(scores) for scores in repeated)
        noise = float(np.sqrt(squares / freedom))
        text += (
            f" One run: pooled standard deviation {noise:.2f} AP ({freedom} degrees of freedom)."
        )
    return text


def _table(runs: dict, truth: dict) -> str:
    rows = [
        [
            str(genotype),
            f"{truth[genotype]:.2f}",
            ", ".join(f"{run['AP']:.2f}" for run in sorted(of, key=lambda run: run["seed"])),
            f"{of[0]['macs'] / 1e6:.2f} M",
            f"{of[0]['params'] / 1e3:.1f} k",
        ]
        for genotype, of in sorted(runs.items(), key=lambda item: -truth[item[0]])
    ]
    head = ["network", "mean AP", "by seed", "MACs", "parameters"]
    return tabulate(rows, headers=head, disable_numparse=True)
