"""Finished searches, read from their folders."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import optuna
from detectron2.config import CfgNode

from crnas_d2.checkpoint import FINAL
from crnas_d2.config import NetworkSpec
from crnas_d2.config.image_size import search_space
from crnas_d2.cost import build_costs
from crnas_d2.search import Candidate, Finalist, evaluated, folders, kept_detector, study_url
from crnas_d2.search.storage import open_storage
from crnas_d2.search.storage_url import file_of, shown
from crnas_d2.space import ChannelSpace, Genotype

from .results import genotype_of, plain, read_entries, score_of
from .run import load_saved_config
from .search_result import ChannelSearchResult, SearchResult


def read_search(folder: str | Path) -> SearchResult | ChannelSearchResult:
    """Read the config, the study and the files of a finished search."""
    cfg = load_saved_config(folder)
    cfg.OUTPUT_DIR = str(folder)  # it may have been moved
    spec = NetworkSpec.from_config(cfg)
    if spec.is_searched_in_training:
        genotype = Genotype.from_yaml(Path(folder) / "genotype.yaml")
        space = cast(ChannelSpace, spec.space)
        return ChannelSearchResult.read(cfg.OUTPUT_DIR, cfg.SEED, space, genotype)
    study = _load_study(cfg, folder)
    candidates = evaluated(study, search_space(cfg, spec))
    if not any(candidate.fitness is not None for candidate in candidates):
        raise ValueError(f"The search in {folder} has no result yet: continue it with --resume.")
    finalists = _read_finalists(cfg, candidates)
    places, detector = folders(study), kept_detector(study)
    return SearchResult.of(
        cfg, spec, candidates, build_costs(cfg, spec), finalists, places, detector
    )


def _read_finalists(cfg: CfgNode, candidates: Sequence[Candidate]) -> list[Finalist]:
    """Return those of ``finalists.json``, the best first; none if there was no final round."""
    output, metric = Path(cfg.OUTPUT_DIR), cfg.SEARCH.METRIC
    if not cfg.SEARCH.FINALISTS.NUMBER or not (file := output / "finalists.json").is_file():
        return []
    by_genotype = {plain(candidate.genotype): candidate for candidate in candidates}
    finalists = []
    for run in read_entries(file, "runs"):
        if (candidate := by_genotype.get(genotype_of(run))) is not None:
            weights = str(output / "finalists" / run["config_digest"] / FINAL)
            finalists.append(Finalist(candidate, score_of(run, metric), run["seconds"], weights))
    return sorted(finalists, key=lambda finalist: -finalist.fitness)


def _load_study(cfg: CfgNode, folder: str | Path) -> optuna.Study:
    url, name = study_url(cfg), cfg.SEARCH.STUDY_NAME
    place, file = shown(url), file_of(url)
    missing = f"{folder} holds no search: there is no study '{name}' in {place}"
    missing += ". Run the search, or name its OUTPUT_DIR."
    if file is not None and not Path(file).is_file():  # else opening would create it
        raise ValueError(missing)
    try:
        return optuna.load_study(study_name=name, storage=cast(Any, open_storage(url)))
    except KeyError as error:
        raise ValueError(missing) from error
