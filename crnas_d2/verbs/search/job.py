"""The job of a search: its checked settings, made once from a config."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from detectron2.config import CfgNode

from crnas_d2.common.errors import invalid
from crnas_d2.common.files import check_writable
from crnas_d2.cost import build_budgets, build_costs
from crnas_d2.engine.checks import check_config, check_search
from crnas_d2.engine.log import describe_seed
from crnas_d2.engine.scores import SCORE_REGISTRY, Score, build_score
from crnas_d2.evaluation import evaluator_builder
from crnas_d2.search import Searcher, StudySettings, build_searcher, study_url, without_password
from crnas_d2.space import AdditiveCost, SearchSpace, check_budgets

from .describe import describe_search
from .racing import RaceSettings


@dataclass(frozen=True)
class SearchJob:
    """What all workers of a search have in common, checked; each process gets a copy of it.

    Attributes:
        num_workers: processes on this machine.
        searcher: proposes the candidates. Each process builds its own with ``build_searcher``,
            because a sampler may have a random state.
        build_score: on a supernet, which is loaded if it is not given; in each process anew.
        metric: the name of the fitness.
        inherits: whether the weights are those of a trained detector, not of a supernet.
        costs: by name, those that are limited, minimized or reported.
        second_objective: the cost to minimize, if there is one.
        summary: lines that are shown when the search begins.
    """

    num_workers: int
    device: str
    output: Path
    searcher: Searcher
    build_searcher: Callable[[], Searcher]
    score: type[Score]
    build_score: Callable[..., Score]
    metric: str
    inherits: bool
    costs: Mapping[str, AdditiveCost]
    second_objective: AdditiveCost | None
    racing: RaceSettings | None
    study: StudySettings
    summary: tuple[str, ...]

    @classmethod
    def from_config(cls, cfg: CfgNode, num_workers: int = 1) -> "SearchJob":
        """Check a config and return its job, or raise ValueError with the value and the fix."""
        if num_workers < 1:
            raise invalid("--num-workers", num_workers, "at least 1")
        check_writable(cfg.OUTPUT_DIR)
        score: type[Score] = SCORE_REGISTRY.get(cfg.SEARCH.SCORE)
        uses_images = score.uses_supernet or cfg.SEARCH.FINALISTS.NUMBER
        check_config(cfg, ["TRAIN", "ARCHVAL", "TEST"] if uses_images else [])
        spec = check_search(cfg)
        if uses_images:
            metric, archval = cfg.SEARCH.METRIC, cfg.DATASETS.ARCHVAL[0]
            if metric not in (known := evaluator_builder(cfg, archval).metric_names()):
                but = f"{archval} gives {', '.join(known)}"
                raise invalid("SEARCH.METRIC", metric, but=but, known=known)
        _check_results(cfg)
        costs = build_costs(cfg, spec)
        budgets = build_budgets(cfg, costs)
        space = spec.space
        assert isinstance(space, SearchSpace)
        reachable = check_budgets(space, budgets)
        searcher = build_searcher(cfg, space, budgets)
        if searcher.proposes_prefixes and not score.scores_prefixes:
            raise ValueError(
                f"SEARCH.ALGORITHM is '{searcher.name}', which scores parts of a network; "
                f"SEARCH.SCORE '{score.name}' scores whole ones: use 'exhaustive' or 'evolution'."
            )
        racing = RaceSettings.from_config(cfg, searcher, score)
        second = cfg.SEARCH.SECOND_OBJECTIVE
        study = StudySettings(
            study_url(cfg),
            cfg.SEARCH.STUDY_NAME,
            describe_search(cfg, searcher, costs, score, racing),
            directions=("maximize", "minimize") if second else ("maximize",),
            patience=cfg.SEARCH.STORAGE_TIMEOUT,
        )
        number = "as many as are asked for" if searcher.total is None else f"{searcher.total:,}"
        lines = (
            f"processes: {num_workers} on {cfg.MODEL.DEVICE}",
            f"candidates: {number}, {searcher.name}",
            f"seed: {describe_seed(cfg)}",
            *score.describe(cfg),
            *([racing.summary()] if racing else []),
            *reachable,
        )
        return cls(
            num_workers=num_workers,
            device=cfg.MODEL.DEVICE,
            output=Path(cfg.OUTPUT_DIR),
            searcher=searcher,
            build_searcher=partial(type(searcher), space, budgets, **searcher.from_config(cfg)),
            score=score,
            build_score=partial(build_score, cfg),
            metric=score.metric(cfg),
            inherits=cfg.MODEL.INHERIT,
            costs=costs,
            second_objective=costs[second] if second else None,
            racing=racing,
            study=study,
            summary=lines,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "searcher": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, searcher=state["build_searcher"]())

    @property
    def space(self) -> SearchSpace:
        return self.searcher.space


def _check_results(cfg: CfgNode) -> None:
    """Raise ValueError if the results of another study are in ``OUTPUT_DIR``."""

    def study(search: Mapping[str, Any]) -> str:
        storage = without_password(os.path.expandvars(search["STORAGE"]))
        return f"'{search['STUDY_NAME']}' in {storage or 'search.db'}"

    saved = Path(cfg.OUTPUT_DIR, "config.yaml")
    if not saved.is_file() or not Path(cfg.OUTPUT_DIR, "genotype.yaml").exists():
        return
    try:
        before = study(yaml.safe_load(saved.read_text())["SEARCH"])
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError):
        return  # it cannot be told
    if before != (now := study(cfg.SEARCH)):
        raise ValueError(
            f"OUTPUT_DIR {cfg.OUTPUT_DIR} holds the results of the study {before}, which those of "
            f"{now} would overwrite: choose another OUTPUT_DIR."
        )
