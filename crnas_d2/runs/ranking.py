"""How well other scores rank networks that were trained by themselves."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crnas_d2.evaluation.rank_correlation import Correlation, rank_correlation
from crnas_d2.space import Genotype

from .comparison import pooled_deviation
from .metrics import MAIN
from .results import Result, genotype_of, metric_of, read_entries, read_results, score_of

MACS, PARAMETERS = "MACs", "parameters"
_SHORT = {MAIN: "AP", "classification/top1": "top-1"}

Results = Mapping[Genotype, Sequence[Result]]
Scores = Mapping[Genotype, float]


@dataclass(frozen=True)
class Ranking:
    """Networks with the results of their trainings, and rival rankings of the same networks.

    Rivals are MACs, parameters, the metric of the pretraining, files of scores, other trainings.
    """

    metric: str
    runs: Results  # one for each seed
    rivals: Mapping[str, Scores]
    without_result: int = 0  # runs that are left out, because their result is not finite

    @property
    def label(self) -> str:
        return _SHORT.get(self.metric, self.metric)

    def scores(self, genotype: Genotype) -> list[float]:
        """Return the results of a network, by seed."""
        runs = sorted(self.runs[genotype], key=lambda run: run["seed"])
        return [score_of(run, self.metric) for run in runs]

    @property
    def truth(self) -> dict[Genotype, float]:
        """The mean over the seeds of each network."""
        return {genotype: float(np.mean(self.scores(genotype))) for genotype in self.runs}

    @property
    def spread(self) -> float:
        """The standard deviation of the means of the networks; NaN for a single one."""
        means = list(self.truth.values())
        return float(np.std(means, ddof=1)) if len(means) > 1 else math.nan

    @property
    def noise(self) -> tuple[float, int]:
        """The standard deviation of one training, pooled, and its degrees of freedom."""
        return pooled_deviation([self.scores(genotype) for genotype in self.runs])

    def common(self, rival: str) -> list[Genotype]:
        """Return the networks that a rival ranks, too."""
        return [genotype for genotype in self.runs if genotype in self.rivals[rival]]

    def correlations(self) -> dict[str, Correlation]:
        """Return those of the rivals that rank at least three networks, not all the same."""
        truth, found = self.truth, {}
        for name, values in self.rivals.items():
            theirs, ours = ([of[g] for g in self.common(name)] for of in (values, truth))
            if len(ours) >= 3 and len(set(theirs)) > 1 and len(set(ours)) > 1:
                found[name] = rank_correlation(ours, theirs)
        return found


def read_ranking(results: Path, others: Sequence[Path] = ()) -> Ranking:
    """Read stand-alone trainings, and what they are compared with, also MACs and parameters.

    Args:
        results: ``{"runs": [...]}``, from ``crnas-d2 correlate train``.
        others: ``{"scores": [...]}``, from ``crnas-d2 correlate score``, or other ``results``.

    Raises ValueError if a file cannot be read, or has no network in common with the results.
    """
    metric, runs, without = _read_runs(results)
    if not runs and without:
        why = f"none of its {without} trainings has a finite {metric}: train them longer"
        raise ValueError(f"{results} ranks no networks, because {why}, or check the test set.")
    if not runs:
        raise ValueError(f"{results} holds no finished training with a {metric} yet.")
    rivals: dict[str, Scores] = {
        name: {genotype: of[0][key] for genotype, of in runs.items()}
        for name, key in ((MACS, "macs"), (PARAMETERS, "params"))
    }
    # The mean result of the pretraining of each network, by the name of its metric.
    pretrained: dict[str, dict[Genotype, list[float]]] = defaultdict(lambda: defaultdict(list))
    for genotype, of in runs.items():
        for before in (run["pretraining"] for run in of if "pretraining" in run):
            if before["score"] is not None:
                name = _SHORT.get(before["metric"], before["metric"])
                pretrained[name][genotype].append(before["score"])
    for name, lists in pretrained.items():
        rivals[name] = {genotype: float(np.mean(scores)) for genotype, scores in lists.items()}
    for path in others:
        if "runs" in read_results(path):
            values = Ranking(*_read_runs(path)[:2], {}).truth
        else:
            fitness: dict[Genotype, float] = {}
            for each in read_entries(path, "scores"):
                found = fitness.setdefault(genotype_of(each), each["fitness"])
                _check_same(path, f"scores of {genotype_of(each)}", found, each["fitness"])
            values = {genotype: s for genotype, s in fitness.items() if math.isfinite(s)}
        if not set(values) & set(runs):
            raise ValueError(f"{path} and {results} have no network in common.")
        number, name = 1, path.stem
        while name in rivals:
            number += 1
            name = f"{path.stem}-{number}"
        rivals[name] = values
    return Ranking(metric, runs, rivals, without)


def _read_runs(file: Path) -> tuple[str, Results, int]:
    """Return the metric, the trainings with a finite result, and the number of the others."""
    entries = read_entries(file, "runs")
    metrics = sorted({metric_of(run) for run in entries}) or [MAIN]
    if len(metrics) > 1:
        expected = "expected those of one config. Keep them in a file each, and name both."
        by = " and ".join(metrics)
        raise ValueError(f"{file} holds trainings that are judged by {by}; {expected}")
    [metric] = metrics
    by_seed: dict[tuple[Genotype, int], Result] = {}
    for run in entries:
        key = genotype_of(run), run["seed"]
        found = by_seed.setdefault(key, run)
        what = f"results of {key[0]} with seed {key[1]}"
        _check_same(file, what, score_of(found, metric), score_of(run, metric))
    runs = defaultdict(list)
    for (genotype, _), run in by_seed.items():
        if math.isfinite(score_of(run, metric)):
            runs[genotype].append(run)
    return metric, dict(runs), len(by_seed) - sum(map(len, runs.values()))


def _check_same(file: Path, what: str, first: float, second: float) -> None:
    """Raise ValueError for contradicting entries; the same one twice counts once."""
    if first != second and not (math.isnan(first) and math.isnan(second)):
        raise ValueError(f"{file} holds two {what}: {first} and {second}. Delete the wrong one.")
