"""Scores of given networks in a supernet, to compare with their own trainings."""

from collections.abc import Iterator
from pathlib import Path

from crnas_d2.engine.checks import check_config, check_search
from crnas_d2.engine.scores import SCORE_REGISTRY, build_score
from crnas_d2.runs.ranking import read_entries
from crnas_d2.runs.results_file import add_entry
from crnas_d2.space import Genotype


def score_networks(cfg, results: Path, scores: Path, command: str) -> Iterator[str]:
    """Score the networks of stand-alone trainings with the weights of a supernet.

    Args:
        cfg: of a search. Only the networks to score are others.
        results: of :func:`train_all`.
        scores: a JSON file, ``{"command": ..., "scores": [...]}``, to which a genotype and its
            fitness are added as they come.
        command: the command that makes the file.

    Raises:
        ValueError: the settings or the weights do not fit.
    """
    score = SCORE_REGISTRY.get(cfg.SEARCH.SCORE)
    check_config(cfg, ["TRAIN", "ARCHVAL"] if score.uses_supernet else [])
    check_search(cfg)
    wanted = dict.fromkeys(
        Genotype.from_config(run["genotype"]) for run in read_entries(results, "runs")
    )
    known = read_entries(scores, "scores") if scores.exists() else []
    done = {Genotype.from_config(score["genotype"]) for score in known}
    evaluate = build_score(cfg)
    for genotype in wanted:
        if genotype in done:
            continue
        fitness = evaluate(genotype)[score.metric(cfg)]
        entry = {"genotype": genotype.to_config(), "fitness": fitness}
        add_entry(scores, "scores", entry, command)
        yield f"{genotype}: {fitness:.2f}"
