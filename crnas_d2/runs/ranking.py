"""The results of ``crnas-d2 correlate``: trained networks, and what else may rank them."""

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tabulate import tabulate

from crnas_d2.common.formats import format_quantity
from crnas_d2.config import spell
from crnas_d2.evaluation.rank_correlation import Correlation, rank_correlation
from crnas_d2.space import Genotype

_SHORT = {"bbox/AP": "AP", "classification/top1": "top-1"}


def read_entries(file: Path, key: str) -> list[dict]:
    """Read the list of a JSON file of ``crnas-d2 correlate``, ``{"command": ..., key: [...]}``.

    Raises:
        ValueError: no such file, or another content.
    """
    content = _read(file)
    if key not in content:
        raise ValueError(
            f"{file} holds no list of {key}; expected a file that {spell('correlate')} has written."
        )
    entries = content[key]
    is_list = isinstance(entries, list)
    if not is_list or not all(isinstance(e, dict) and "genotype" in e for e in entries):
        raise ValueError(f"{file}: {key} is no list of results of {spell('correlate')}.")
    return entries


def plain(genotype: Genotype) -> Genotype:
    """Leave out operations that are all the first one, as configs may do."""
    return genotype if any(genotype.ops) else replace(genotype, ops=())


def score_of(run: Mapping, metric: str) -> float:
    """Return a result of a training, NaN if it has none; ``AP`` is what files call ``bbox/AP``."""
    score = run["AP"] if metric == "bbox/AP" else run[metric]
    return math.nan if score is None else score


@dataclass(frozen=True)
class Ranking:
    """Networks with the results of their trainings, and rival rankings of the same networks.

    Attributes:
        metric: that the trainings are judged by.
        runs: by genotype, one for each seed.
        without_result: number of runs that are left out, because their result is not finite, e.g.
            of a network that detects nothing.
        rivals: scores by name of the ranking and genotype: MACs, parameters, the metric of the
            pretraining, files of scores and of other trainings.
    """

    metric: str
    runs: Mapping[Genotype, Sequence[Mapping]]
    rivals: Mapping[str, Mapping[Genotype, float]]
    without_result: int = 0

    @property
    def label(self) -> str:
        return _SHORT.get(self.metric, self.metric)

    @property
    def truth(self) -> dict[Genotype, float]:
        """The mean over the seeds of each network."""
        return {
            genotype: float(np.mean([score_of(run, self.metric) for run in runs]))
            for genotype, runs in self.runs.items()
        }

    def common(self, rival: str) -> list[Genotype]:
        """Return the networks that a rival ranks, too."""
        return [genotype for genotype in self.runs if genotype in self.rivals[rival]]

    def correlations(self) -> dict[str, Correlation]:
        """Return those of the rivals that rank at least three networks, not all the same."""
        truth, found = self.truth, {}
        for name, values in self.rivals.items():
            common = self.common(name)
            theirs = [values[genotype] for genotype in common]
            ours = [truth[genotype] for genotype in common]
            if len(common) >= 3 and len(set(theirs)) > 1 and len(set(ours)) > 1:
                found[name] = rank_correlation(ours, theirs)
        return found


def read_ranking(results: Path, others: Sequence[Path] = ()) -> Ranking:
    """Read stand-alone trainings, and what they are compared with.

    MACs and parameters are among the rivals: a supernet that ranks no better than MACs is of no
    use.

    Args:
        results: ``{"runs": [...]}``, from ``crnas-d2 correlate train``.
        others: ``{"scores": [...]}``, from ``crnas-d2 correlate score``, or other trainings of the
            same networks.

    Raises:
        ValueError: a file cannot be read, or has no network in common with the results.
    """
    everything = _by_genotype(results)
    metric = _metric(results, everything)
    runs = {genotype: _with_result(of, metric) for genotype, of in everything.items()}
    runs = {genotype: of for genotype, of in runs.items() if of}
    if not runs:
        raise ValueError(f"{results} holds no finished training with a {metric} yet.")
    without = sum(map(len, everything.values())) - sum(map(len, runs.values()))
    rivals = {
        "MACs": {genotype: of[0]["macs"] for genotype, of in runs.items()},
        "parameters": {genotype: of[0]["params"] for genotype, of in runs.items()},
    }
    rivals |= _of_pretraining(runs)
    for path in others:
        values = _scores(path)
        if not set(values) & set(runs):
            raise ValueError(f"{path} and {results} have no network in common.")
        rivals[_unused(path.stem, rivals)] = values
    return Ranking(metric, runs, rivals, without)


def describe_ranking(results: Path, others: Sequence[Path] = ()) -> str:
    """Describe stand-alone trainings: noise of seeds, spread, and how well others rank them.

    Args: as those of :func:`read_ranking`.
    """
    ranking = read_ranking(results, others)
    networks = tabulate(*network_table(ranking), disable_numparse=True)
    ranked = tabulate(*correlation_table(ranking), disable_numparse=True)
    return "\n\n".join([describe_spread(ranking), networks, ranked])


def correlation_table(ranking: Ranking) -> tuple[list[list[str]], list[str]]:
    """Return rows and head of the table of rank correlations."""
    head = ["ranked by", "networks", "Kendall's tau [95 %]", "Spearman's rho [95 %]"]
    rows = [
        [name, str(found.number), found.tau_text, found.rho_text]
        for name, found in ranking.correlations().items()
    ]
    return rows, head


def describe_spread(ranking: Ranking) -> str:
    """Return sentences about the spread of the networks and the noise of one training."""
    scores = [[score_of(run, ranking.metric) for run in of] for of in ranking.runs.values()]
    truth, repeated = ranking.truth, [of for of in scores if len(of) > 1]
    spread = np.std(list(truth.values()), ddof=1) if len(truth) > 1 else float("nan")
    text = f"{len(truth)} networks, standard deviation of their means {spread:.2f} {ranking.label}."
    if repeated:
        # Pooled variance: squared deviations from each network's mean over degrees of freedom.
        freedom = sum(len(of) - 1 for of in repeated)
        squares = sum(np.var(of) * len(of) for of in repeated)
        noise = float(np.sqrt(squares / freedom))
        text += (
            f" One run: pooled standard deviation {noise:.2f} {ranking.label} ({freedom} degrees "
            "of freedom)."
        )
    if ranking.without_result:
        text += f" Left out: {ranking.without_result} trainings without a finite result."
    return text


def network_table(
    ranking: Ranking, names: Mapping[Genotype, str] | None = None
) -> tuple[list[list[str]], list[str]]:
    """Return rows and head of the table of networks, the best first.

    Args:
        names: of networks that have one.
    """
    truth, names = ranking.truth, names or {}
    rivals = [name for name in ranking.rivals if name not in ("MACs", "parameters")]
    rows = [
        [
            f"{names[genotype]}: {genotype}" if genotype in names else str(genotype),
            f"{truth[genotype]:.2f}",
            ", ".join(
                f"{score_of(run, ranking.metric):.2f}"
                for run in sorted(of, key=lambda run: run["seed"])
            ),
            *(_cell(ranking.rivals[name].get(genotype)) for name in rivals),
            format_quantity(of[0]["macs"]),
            format_quantity(of[0]["params"]),
        ]
        for genotype, of in sorted(ranking.runs.items(), key=lambda item: -truth[item[0]])
    ]
    head = ["network", f"mean {ranking.label}", "by seed", *rivals, "MACs", "parameters"]
    return rows, head


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _by_genotype(file: Path) -> dict[Genotype, list[dict]]:
    runs = defaultdict(list)
    for run in read_entries(file, "runs"):
        runs[plain(Genotype.from_config(run["genotype"]))].append(run)
    return dict(runs)


def _metric(file: Path, runs: Mapping[Genotype, Sequence[Mapping]]) -> str:
    """Return what the runs of a file are judged by: the one result with a ``/``, else AP."""
    found = {
        next((key for key in run if "/" in key), "bbox/AP") for of in runs.values() for run in of
    }
    if len(found) > 1:
        raise ValueError(
            f"{file} holds trainings that are judged by {' and '.join(sorted(found))}; expected "
            "those of one config. Keep them in a file each, and name both."
        )
    return found.pop() if found else "bbox/AP"


def _scores(file: Path) -> dict[Genotype, float]:
    """Return scores of a supernet, or the mean results of trainings."""
    if "runs" in _read(file):
        runs = _by_genotype(file)
        metric = _metric(file, runs)
        finite = {genotype: _with_result(of, metric) for genotype, of in runs.items()}
        return Ranking(metric, {g: of for g, of in finite.items() if of}, {}).truth
    return {
        plain(Genotype.from_config(entry["genotype"])): entry["fitness"]
        for entry in read_entries(file, "scores")
        if math.isfinite(entry["fitness"])
    }


def _of_pretraining(
    runs: Mapping[Genotype, Sequence[Mapping]],
) -> dict[str, dict[Genotype, float]]:
    """Return the mean result of the pretraining of each network, by the name of its metric."""
    found: dict[str, dict[Genotype, list[float]]] = defaultdict(lambda: defaultdict(list))
    for genotype, of in runs.items():
        for before in (run["pretraining"] for run in of if "pretraining" in run):
            if before["score"] is not None:
                name = _SHORT.get(before["metric"], before["metric"])
                found[name][genotype].append(before["score"])
    return {
        name: {genotype: float(np.mean(each)) for genotype, each in scores.items()}
        for name, scores in found.items()
    }


def _with_result(runs: Sequence[Mapping], metric: str) -> list[Mapping]:
    return [run for run in runs if math.isfinite(score_of(run, metric))]


def _unused(name: str, taken: Mapping[str, object]) -> str:
    number, unused = 1, name
    while unused in taken:
        number += 1
        unused = f"{name}-{number}"
    return unused


def _read(file: Path) -> dict:
    try:
        content = json.loads(file.read_text())
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}.") from error
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise ValueError(
            f"{file} holds no list of runs; expected a file that {spell('correlate')} has written."
        )
    return content
