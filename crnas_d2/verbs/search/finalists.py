"""The final round of a search: its best candidates, trained by themselves.

A supernet tells bad networks from good ones, but not the best of the good ones apart.
"""

import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import islice, zip_longest
from pathlib import Path

from detectron2.config import CfgNode

from crnas_d2.checkpoint.files import fetch_weights
from crnas_d2.common.digests import text_digest
from crnas_d2.common.files import write_file
from crnas_d2.common.secrets_in_urls import hide_secrets
from crnas_d2.engine.checks import check_training
from crnas_d2.runs.results import score_of
from crnas_d2.runs.training import Training
from crnas_d2.runs.trainings import train_all
from crnas_d2.search import Candidate, Finalist, public_arguments
from crnas_d2.space import Genotype

from .job import SearchJob


def train_finalists(
    job: SearchJob,
    cfg: CfgNode,
    save: Callable[[Genotype, Path], None] | None,
    candidates: Sequence[Candidate],
) -> list[Finalist]:
    """Fine-tune the best candidates from their weights in the supernet; score them on archval.

    Each has a folder in ``OUTPUT_DIR/finalists`` and is resumed or, if it is finished, not trained
    again. Their results are kept in ``OUTPUT_DIR/finalists.json``.

    Args:
        cfg: of the search.
        save: writes the weights of a network; without it, all start from ``MODEL.WEIGHTS``.
        candidates: the best first, like those returned; only complete ones take part, those of
            each image size in turn.
    """
    number, metric = cfg.SEARCH.FINALISTS.NUMBER, cfg.SEARCH.METRIC
    if not number:
        return []
    config = training_config(cfg)
    is_complete = job.space.is_complete
    scored = (c for c in candidates if c.fitness is not None and is_complete(c.genotype))
    chosen = _of_each_size(scored, number)
    folder = job.output / "finalists"
    folder.mkdir(exist_ok=True)
    file = str(folder / "recipe.yaml")
    write_file(file, config.dump())
    print(f"The {len(chosen)} best candidates are trained by themselves, in {folder}:")
    runs = []
    for genotype in (candidate.genotype for candidate in chosen):
        start: tuple[str, ...] = ()
        if save is not None:
            weights = folder / f"{text_digest(str(genotype))}.pth"
            if not weights.exists():
                save(genotype, weights)
            start = ("MODEL.WEIGHTS", str(weights))
        runs.append(Training(genotype, config.SEED, file, start, folder, metric=metric))
        check_training(runs[-1].config(), resume=True)
    command = shlex.join(public_arguments(sys.argv))
    list(train_all(runs, job.output / "finalists.json", command, job.num_workers))
    finalists = []
    for candidate, run in zip(chosen, runs, strict=True):
        result = run.result()
        assert result is not None, candidate
        final = str(folder / result["config_digest"] / "model_final.pth")
        finalists.append(Finalist(candidate, score_of(result, metric), result["seconds"], final))
    return sorted(finalists, key=lambda finalist: -finalist.fitness)


def _of_each_size(candidates: Iterable[Candidate], number: int) -> list[Candidate]:
    """Return the best candidates, given the best first; of each image size in turn.

    A network that sees smaller images than its weights did gains more from a training than one
    with fewer blocks, so scores before it do not say which size is the best.
    """
    sizes: dict[tuple[int, ...], list[Candidate]] = {}
    for candidate in candidates:
        sizes.setdefault(candidate.genotype.image_size, []).append(candidate)
    turns = zip_longest(*sizes.values())
    return list(islice((c for turn in turns for c in turn if c is not None), number))


def training_config(cfg: CfgNode) -> CfgNode:
    """Return the config that all finalists share: a network, trained as the supernet was."""
    config = cfg.clone()
    config.defrost()
    config.MODEL.SUPERNET.PATH_SAMPLER = "fixed"
    config.MODEL.INHERIT = False  # the weights are already those of the network
    config.DATASETS.TEST = cfg.DATASETS.ARCHVAL
    solver, finalists = config.SOLVER, cfg.SEARCH.FINALISTS
    scale = finalists.MAX_ITER / solver.MAX_ITER
    solver.STEPS = tuple(int(step * scale) for step in solver.STEPS)
    solver.WARMUP_ITERS = int(solver.WARMUP_ITERS * scale)
    solver.MAX_ITER, solver.BASE_LR = finalists.MAX_ITER, finalists.BASE_LR
    config.TEST.EVAL_PERIOD = 0
    config.SEARCH.STORAGE = ""  # may have a password
    if hide_secrets(cfg.MODEL.WEIGHTS) != cfg.MODEL.WEIGHTS:
        config.MODEL.WEIGHTS = fetch_weights(cfg.MODEL.WEIGHTS)
    return config
