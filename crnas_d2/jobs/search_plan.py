"""The plan of a search: checked settings, costs and budgets, and its description."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import optuna
import yaml

from crnas_d2.checkpoint import check_weights
from crnas_d2.config import NetworkSpec, spell
from crnas_d2.config.fitness import needs_supernet
from crnas_d2.cost import build_budgets, build_costs
from crnas_d2.evaluation import check_precision, metric_names
from crnas_d2.search import (
    Searcher,
    build_searcher,
    check_study,
    open_study,
    study_url,
    without_password,
)
from crnas_d2.space import AdditiveCost, Budget, SearchSpace, check_budgets, did_you_mean

from .checks import check_config
from .describe import describe_search
from .racing import check_racing
from .scores import with_fitness

__all__ = ["SearchPlan", "check_search"]


def check_search(cfg) -> NetworkSpec:
    """Check that a config describes a search that can be run.

    Returns:
        the spec of the supernet.

    Raises:
        ValueError: naming the key, its value and what to do.
    """
    spec = NetworkSpec.from_config(cfg)
    if not spec.is_supernet:
        raise ValueError(
            "Nothing to search: MODEL.SUPERNET.SPACE is 'none' or PATH_SAMPLER is 'fixed'. Use "
            "the config with which the supernet was trained."
        )
    if spec.mode == "mixed":
        raise ValueError(
            f"MODEL.SUPERNET.SPACE is '{spec.kind.name}', which is searched by gradient while the "
            f"supernet is trained: {spell('train')} writes genotype.yaml when it is done."
        )
    if needs_supernet(cfg):
        _check_scoring(cfg)
    if (needs_supernet(cfg) or cfg.SEARCH.FINALISTS.NUMBER) and len(cfg.DATASETS.ARCHVAL) != 1:
        raise ValueError(
            f"DATASETS.ARCHVAL is {cfg.DATASETS.ARCHVAL}; expected exactly one dataset."
        )
    if os.path.exists(os.path.join(cfg.OUTPUT_DIR, "last_checkpoint")):
        raise ValueError(
            f"OUTPUT_DIR {cfg.OUTPUT_DIR} holds a training, whose files a search would overwrite; "
            "choose another OUTPUT_DIR."
        )
    return spec


def _check_scoring(cfg) -> None:
    """Raise ValueError for settings with which a supernet cannot score candidates."""
    if not cfg.MODEL.WEIGHTS:
        raise ValueError("MODEL.WEIGHTS is empty: name the checkpoint of the trained supernet.")
    partial_bn = cfg.SEARCH.BN_CALIBRATION.PARTIAL
    if partial_bn not in ("batch", "calibration"):
        raise ValueError(
            f"SEARCH.BN_CALIBRATION.PARTIAL is '{partial_bn}'; expected 'batch' or 'calibration'."
        )
    check_precision(cfg.SEARCH.PRECISION, cfg.MODEL.DEVICE)


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
            check_weights(cfg.MODEL.WEIGHTS)
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
