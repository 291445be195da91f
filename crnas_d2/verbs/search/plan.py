"""The plan of a search: checked settings, costs and budgets, and its description."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import optuna
import yaml

from crnas_d2.checkpoint import read_weights
from crnas_d2.common.errors import did_you_mean
from crnas_d2.config.fitness import needs_supernet
from crnas_d2.cost import build_budgets, build_costs
from crnas_d2.engine.checks import check_config, check_search
from crnas_d2.engine.scores import with_fitness
from crnas_d2.evaluation import metric_names
from crnas_d2.search import (
    Searcher,
    build_searcher,
    check_study,
    open_study,
    study_url,
    without_password,
)
from crnas_d2.space import AdditiveCost, Budget, SearchSpace, check_budgets

from .describe import describe_search
from .racing import check_racing


@dataclass(frozen=True)
class SearchPlan:
    """What all workers of a search have in common.

    Attributes:
        cfg: the config, whose ``SEARCH.METRIC`` is the fitness.
        space: the genotypes to choose from.
        costs: by name, those that are limited, minimized or reported.
        budgets: limits on the costs of a candidate.
        description: what identifies the search, see :func:`describe_search`.
    """

    cfg: object
    space: SearchSpace
    costs: Mapping[str, AdditiveCost]
    budgets: tuple[Budget, ...]
    description: Mapping[str, object]

    @classmethod
    def make(cls, cfg) -> tuple["SearchPlan", list[str]]:
        """Check a config; return the plan, and lines that tell how much of the space is feasible.

        Raises:
            ValueError: with the key, its value and the fix.
        """
        uses_images = needs_supernet(cfg) or cfg.SEARCH.FINALISTS.NUMBER
        check_config(cfg, ["TRAIN", "ARCHVAL", "TEST"] if uses_images else [])
        spec = check_search(cfg)
        if needs_supernet(cfg):
            read_weights(cfg.MODEL.WEIGHTS)
        if uses_images:
            _check_metric(cfg)
        cfg = with_fitness(cfg)
        costs = build_costs(cfg, spec)
        budgets = build_budgets(cfg, costs)
        reachable = check_budgets(spec.space, budgets)
        searcher = build_searcher(cfg, spec.space, budgets)
        check_racing(cfg, searcher)
        description = describe_search(cfg, spec.space, searcher, budgets, costs)
        return cls(cfg, spec.space, costs, budgets, description), reachable

    def searcher(self) -> Searcher:
        return build_searcher(self.cfg, self.space, self.budgets)

    def check_study(self, resume: bool) -> None:
        """Check that the study can be begun or continued, and belongs to ``OUTPUT_DIR``.

        Raises:
            ValueError, StorageError: as :func:`crnas_d2.search.open_study`.
        """
        cfg = self.cfg
        _check_results(cfg)
        check_study(study_url(cfg), cfg.SEARCH.STUDY_NAME, self.description, resume=resume)

    def open_study(self, resume: bool) -> optuna.Study:
        cfg = self.cfg
        directions = ["maximize", "minimize"] if cfg.SEARCH.SECOND_OBJECTIVE else ["maximize"]
        return open_study(
            *(study_url(cfg), cfg.SEARCH.STUDY_NAME, self.description),
            resume=resume,
            directions=directions,
            patience=cfg.SEARCH.STORAGE_TIMEOUT,
        )


def _check_metric(cfg) -> None:
    """Raise ValueError if archval does not give ``SEARCH.METRIC``."""
    metrics = metric_names(cfg, cfg.DATASETS.ARCHVAL[0])
    if cfg.SEARCH.METRIC not in metrics:
        raise ValueError(
            f"SEARCH.METRIC is '{cfg.SEARCH.METRIC}'; {cfg.DATASETS.ARCHVAL[0]} gives "
            f"{', '.join(metrics)}.{did_you_mean(cfg.SEARCH.METRIC, metrics)}"
        )


def _check_results(cfg) -> None:
    """Raise ValueError if the results of another study are in ``OUTPUT_DIR``."""
    saved = Path(cfg.OUTPUT_DIR) / "config.yaml"
    if not saved.is_file() or not (Path(cfg.OUTPUT_DIR) / "genotype.yaml").exists():
        return
    try:
        search = yaml.safe_load(saved.read_text())["SEARCH"]
        before = search["STUDY_NAME"], _place(search["STORAGE"])
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError):
        return  # it cannot be told
    now = cfg.SEARCH.STUDY_NAME, _place(cfg.SEARCH.STORAGE)
    if before != now:
        raise ValueError(
            f"OUTPUT_DIR {cfg.OUTPUT_DIR} holds the results of the study '{before[0]}' in "
            f"{before[1] or 'search.db'}, which those of '{now[0]}' in {now[1] or 'search.db'} "
            "would overwrite: choose another OUTPUT_DIR."
        )


def _place(storage: str) -> str:
    return without_password(os.path.expandvars(storage))
