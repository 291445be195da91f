"""The job of a search: its checked settings, made once from a config, and what identifies it."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import yaml
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from crnas_d2.checkpoint.files import fetch_weights
from crnas_d2.common.digests import sha256
from crnas_d2.common.errors import invalid
from crnas_d2.common.files import check_writable
from crnas_d2.config import NetworkSpec, changed_settings, default_config
from crnas_d2.config.image_size import search_space
from crnas_d2.cost import build_budgets, build_costs
from crnas_d2.data import fixed_images
from crnas_d2.engine.checks import check_config, check_search
from crnas_d2.engine.log import describe_seed
from crnas_d2.engine.scores import SCORE_REGISTRY, Score, build_score
from crnas_d2.engine.subnets import image_files
from crnas_d2.evaluation import evaluator_builder, pauses
from crnas_d2.search import Searcher, StudySettings, build_searcher, study_url, without_password
from crnas_d2.space import AdditiveCost, SearchSpace, check_budgets

# Sections and keys of a config that change what a candidate scores.
_SCORING = (
    *("MODEL.", "INPUT.", "TEST.", "SEARCH.BN_CALIBRATION.", "SEARCH.IMS_PER_BATCH.", "SEED."),
    *("SEARCH.PRECISION.", "SEARCH.CHANNELS_LAST.", "SOLVER.CHANNELS_LAST."),
)
_IRRELEVANT = ("MODEL.DEVICE", "MODEL.WEIGHTS")  # the digest of the weights counts, not their path


@dataclass(frozen=True)
class RaceSettings:
    """How candidates race."""

    shares: tuple[float, ...]  # of archval, after which a race decides
    pauses: tuple[int, ...]  # the same in batches
    batch_size: int
    confidence: float  # probability with which a candidate that is stopped cannot win
    num_kept: int  # of the best candidates, which have to be scored on all images

    @classmethod
    def from_config(
        cls, cfg: CfgNode, searcher: Searcher, score: type[Score]
    ) -> "RaceSettings | None":
        """Return the settings of ``SEARCH.RACING``; ``None`` if it is not enabled."""
        racing, size = cfg.SEARCH.RACING, cfg.SEARCH.IMS_PER_BATCH
        if not racing.ENABLED:
            return None
        if reason := _obstacle(cfg, searcher, score):
            raise ValueError(f"SEARCH.RACING.ENABLED is True, but {reason} set it to False.")
        num_batches = -(-len(fixed_images(cfg, cfg.DATASETS.ARCHVAL)) // size)
        parts = tuple(pauses(num_batches, racing.SHARES, size))
        kept = num_kept(cfg, searcher)
        return cls(tuple(racing.SHARES), parts, size, racing.CONFIDENCE, kept)

    def describe(self) -> dict[str, object]:
        """Return what identifies the race for the study, whose scores are estimates in part."""
        kept = {"best ones on all images": self.num_kept}
        return {"SHARES": list(self.shares), "CONFIDENCE": self.confidence, **kept}

    def __str__(self) -> str:
        images = ", ".join(f"{number * self.batch_size:,}" for number in self.pauses)
        rank = "the best" if self.num_kept == 1 else f"one of the {self.num_kept} best"
        stops = f"a candidate stops if with probability {self.confidence:g} it cannot be {rank}"
        return f"racing: after {images} images, {stops}"


def num_kept(cfg: CfgNode, searcher: Searcher) -> int:
    """Return how many of the best candidates have to be scored on all images."""
    return max(searcher.num_decisive or 0, cfg.SEARCH.FINALISTS.NUMBER)


def _obstacle(cfg: CfgNode, searcher: Searcher, score: type[Score]) -> str:
    """Return why a search cannot race, up to the advice not to."""
    if not score.uses_supernet:
        return f"SEARCH.SCORE '{score.name}' looks at no images:"
    if searcher.num_decisive is None:
        why = f"SEARCH.ALGORITHM '{searcher.name}' depends on more than its best candidates"
        return f"{why}: use 'exhaustive' or 'evolution', or"
    if second := cfg.SEARCH.SECOND_OBJECTIVE:
        return f"SEARCH.SECOND_OBJECTIVE '{second}' needs the fitness of all candidates:"
    archval = cfg.DATASETS.ARCHVAL[0]
    if not (builder := evaluator_builder(cfg, archval)).gives_images:
        why = f"the evaluator of {archval}, '{builder.name}', says nothing of single images"
        return f"{why}: register the data in COCO's format, or"
    return ""


@dataclass(frozen=True)
class SearchJob:
    """What all workers of a search have in common, checked; each process gets a copy of it."""

    num_workers: int  # processes on this machine
    device: str
    output: Path
    spec: NetworkSpec  # of the supernet
    build_searcher: Callable[[], Searcher]
    score: type[Score]
    # On a supernet, which is loaded if it is not given; in each process anew.
    build_score: Callable[..., Score]
    metric: str  # the name of the fitness
    inherits: bool  # whether the weights are those of a trained detector, not of a supernet
    costs: Mapping[str, AdditiveCost]  # by name, those that are limited, minimized or reported
    second_objective: AdditiveCost | None  # to minimize
    racing: RaceSettings | None
    study: StudySettings
    summary: tuple[str, ...]  # lines that are shown when the search begins

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
        space = search_space(cfg, spec)
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
            *([str(racing)] if racing else []),
            *reachable,
        )
        return cls(
            num_workers=num_workers,
            device=cfg.MODEL.DEVICE,
            output=Path(cfg.OUTPUT_DIR),
            spec=spec,
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

    @cached_property
    def searcher(self) -> Searcher:
        """What proposes the candidates: of each process its own, whose sampler has a state."""
        return self.build_searcher()

    @property
    def space(self) -> SearchSpace:
        return self.searcher.space

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


def describe_search(
    cfg: CfgNode,
    searcher: Searcher,
    costs: Mapping[str, AdditiveCost],
    score: type[Score],
    racing: RaceSettings | None,
) -> dict[str, object]:
    """Describe a search as plain JSON data: with the same description, scores can be compared.

    Settings are those of the algorithm and those that change a score, if they differ from the
    defaults, so that a setting that a later version adds does not prevent resuming.
    """
    settings = searcher.from_config(cfg)
    usual = searcher.from_config(default_config(cfg.PLUGINS))
    second = cfg.SEARCH.SECOND_OBJECTIVE
    compared = {budget.cost.name for budget in searcher.budgets} | ({second} if second else set())
    race = {"SEARCH.RACING": racing.describe()} if racing else {}
    seen: dict[str, object] = {}
    if score.uses_supernet:  # files by their content: their path does not change a score
        weights, images = fetch_weights(cfg.MODEL.WEIGHTS), image_files(cfg)
        for key, names in (("archval", cfg.DATASETS.ARCHVAL), ("archtrain", cfg.DATASETS.TRAIN)):
            files = [(name, MetadataCatalog.get(name).get("json_file")) for name in names]
            seen[key] = [[name, sha256(file) if file else None] for name, file in files]
        seen |= {f"{use} images": sha256(*files) for use, files in images.items()}
        seen["weights"] = sha256(weights)
    return {
        "space": {choice.name: choice.options for choice in searcher.space.choices},
        "base": str(searcher.space.base),
        "algorithm": searcher.name,
        **{f"{searcher.name}: {k}": v for k, v in settings.items() if v != usual.get(k)},
        "second objective": second,
        **{budget.key: [budget.low, budget.high] for budget in searcher.budgets},
        # The same limits on other costs, e.g. on new latencies, admit other candidates.
        **{f"digest of the costs of {name}": costs[name].digest for name in sorted(compared)},
        "metric": score.metric(cfg),
        **race,
        **seen,
        **{
            key: value
            for key, value in changed_settings(cfg).items()
            if f"{key}.".startswith(_SCORING) and key not in _IRRELEVANT
        },
    }


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
