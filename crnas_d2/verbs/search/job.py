"""The job of a search: its checked settings, made once from a config."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from detectron2.config import CfgNode

from crnas_d2.common.errors import invalid
from crnas_d2.common.files import check_writable
from crnas_d2.config import import_plugins
from crnas_d2.cost import build_budgets, build_costs
from crnas_d2.engine.checks import check_config, check_search
from crnas_d2.engine.log import describe_seed
from crnas_d2.engine.scores import SCORE_REGISTRY, Score, check_prefixes
from crnas_d2.evaluation import metric_names
from crnas_d2.search import Searcher, StudySettings, build_searcher, study_url, without_password
from crnas_d2.space import AdditiveCost, SearchSpace, check_budgets

from .describe import describe_search
from .racing import RaceSettings


@dataclass(frozen=True)
class SearchJob:
    """What all workers of a search have in common, checked; each process gets a copy of it.

    Attributes:
        cfg: for what is built from a config: the model, the data and the score.
        num_workers: processes on this machine.
        output: the folder of the results.
        searcher: proposes the candidates; each process builds its own.
        score: scores the candidates.
        metric: the name of the fitness.
        costs: by name, those that are limited, minimized or reported.
        second_objective: the cost to minimize; ``None``: there is one objective.
        racing: ``None`` if candidates do not race.
        study: where the candidates are stored.
        reachable: lines that tell how much of the space is feasible.
    """

    cfg: CfgNode
    num_workers: int
    output: Path
    searcher: Searcher
    score: type[Score]
    metric: str
    costs: Mapping[str, AdditiveCost]
    second_objective: AdditiveCost | None
    racing: RaceSettings | None
    study: StudySettings
    reachable: tuple[str, ...]

    @classmethod
    def from_config(cls, cfg: CfgNode, num_workers: int = 1) -> "SearchJob":
        """Check a config and return its job.

        Raises:
            ValueError: with the key, its value and the fix.
        """
        if num_workers < 1:
            raise invalid("--num-workers", num_workers, "at least 1")
        check_writable(cfg.OUTPUT_DIR)
        score: type[Score] = SCORE_REGISTRY.get(cfg.SEARCH.SCORE)
        uses_images = score.uses_supernet or cfg.SEARCH.FINALISTS.NUMBER
        check_config(cfg, ["TRAIN", "ARCHVAL", "TEST"] if uses_images else [])
        spec = check_search(cfg)
        if uses_images:
            _check_metric(cfg)
        costs = build_costs(cfg, spec)
        budgets = build_budgets(cfg, costs)
        space = spec.space
        assert isinstance(space, SearchSpace)
        reachable = check_budgets(space, budgets)
        searcher = build_searcher(cfg, space, budgets)
        check_prefixes(score, searcher)
        racing = RaceSettings.from_config(cfg, searcher, score)
        second = cfg.SEARCH.SECOND_OBJECTIVE
        study = StudySettings(
            study_url(cfg),
            cfg.SEARCH.STUDY_NAME,
            describe_search(cfg, searcher, costs, score, racing),
            directions=("maximize", "minimize") if second else ("maximize",),
            patience=cfg.SEARCH.STORAGE_TIMEOUT,
        )
        return cls(
            *(cfg, num_workers, Path(cfg.OUTPUT_DIR), searcher, score, score.metric(cfg)),
            *(costs, costs[second] if second else None, racing, study, tuple(reachable)),
        )

    def __getstate__(self) -> dict[str, Any]:
        # Each process builds its own searcher, because a sampler may have a random state.
        return {**vars(self), "searcher": (self.searcher.space, self.searcher.budgets)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        import_plugins(state["cfg"].PLUGINS)
        vars(self).update(state, searcher=build_searcher(state["cfg"], *state["searcher"]))

    @property
    def space(self) -> SearchSpace:
        return self.searcher.space

    def summary(self) -> list[str]:
        """Return lines that are shown when the search begins."""
        cfg, total = self.cfg, self.searcher.total
        number = "as many as are asked for" if total is None else f"{total:,}"
        return [
            f"processes: {self.num_workers} on {cfg.MODEL.DEVICE}",
            f"candidates: {number}, {self.searcher.name}",
            f"seed: {describe_seed(cfg)}",
            *self.score.describe(cfg),
            *([self.racing.summary()] if self.racing else []),
        ]

    def check_study(self, *, resume: bool) -> None:
        """Check that the study can be begun or continued, and belongs to the folder.

        Raises:
            ValueError, StorageError: as :meth:`crnas_d2.search.StudySettings.open`.
        """
        _check_results(self.cfg)
        self.study.check(resume=resume)


def _check_metric(cfg: CfgNode) -> None:
    """Raise ValueError if archval does not give ``SEARCH.METRIC``."""
    metric, archval = cfg.SEARCH.METRIC, cfg.DATASETS.ARCHVAL[0]
    if metric not in (known := metric_names(cfg, archval)):
        but = f"{archval} gives {', '.join(known)}"
        raise invalid("SEARCH.METRIC", metric, but=but, known=known)


def _check_results(cfg: CfgNode) -> None:
    """Raise ValueError if the results of another study are in ``OUTPUT_DIR``."""
    saved = Path(cfg.OUTPUT_DIR, "config.yaml")
    if not saved.is_file() or not Path(cfg.OUTPUT_DIR, "genotype.yaml").exists():
        return
    try:
        before = _study(yaml.safe_load(saved.read_text())["SEARCH"])
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError):
        return  # it cannot be told
    if before != (now := _study(cfg.SEARCH)):
        raise ValueError(
            f"OUTPUT_DIR {cfg.OUTPUT_DIR} holds the results of the study {before}, which those of "
            f"{now} would overwrite: choose another OUTPUT_DIR."
        )


def _study(search: Mapping[str, Any]) -> str:
    storage = without_password(os.path.expandvars(search["STORAGE"]))
    return f"'{search['STUDY_NAME']}' in {storage or 'search.db'}"
