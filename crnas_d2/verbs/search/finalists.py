"""The final round of a search: its best candidates, trained by themselves.

A supernet tells bad networks from good ones, but not the best of the good ones apart.
"""

import shlex
import sys
from collections.abc import Sequence
from itertools import islice

from detectron2.config import CfgNode
from torch import nn

from crnas_d2.common.digests import text_digest
from crnas_d2.engine.checks import check_training
from crnas_d2.engine.subnets import save_subnet
from crnas_d2.runs.results import score_of
from crnas_d2.runs.training import Training
from crnas_d2.runs.trainings import train_all
from crnas_d2.search import Candidate, Finalist, without_password

from .job import SearchJob


def train_finalists(
    job: SearchJob, model: nn.Module | None, candidates: Sequence[Candidate]
) -> list[Finalist]:
    """Fine-tune the best candidates from their weights in the supernet; score them on archval.

    Each has a folder in ``OUTPUT_DIR/finalists`` and is resumed or, if it is finished, not trained
    again. Their results are kept in ``OUTPUT_DIR/finalists.json``.

    Args:
        model: the supernet; without one, all start from ``MODEL.WEIGHTS``, or from scratch.
        candidates: the best first.

    Returns:
        ``SEARCH.FINALISTS.NUMBER`` of them, or as many complete candidates as there are, the best
        first.
    """
    number, metric = job.cfg.SEARCH.FINALISTS.NUMBER, job.cfg.SEARCH.METRIC
    if not number:
        return []
    is_complete = job.space.is_complete
    scored = (c for c in candidates if c.fitness is not None and is_complete(c.genotype))
    chosen = list(islice(scored, number))
    folder = job.output / "finalists"
    folder.mkdir(exist_ok=True)
    config_file = folder / "recipe.yaml"
    config_file.write_text(_training_config(job.cfg).dump())
    print(f"The {len(chosen)} best candidates are trained by themselves, in {folder}:")
    runs = []
    for candidate in chosen:
        name = text_digest(str(candidate.genotype))
        start: tuple[str, ...] = ()
        if model is not None:
            file = folder / f"{name}.pth"
            if not file.exists():
                save_subnet(job.cfg, model, candidate.genotype, file)
            start = ("MODEL.WEIGHTS", str(file))
        run = Training(
            *(candidate.genotype, job.cfg.SEED, str(config_file), start, folder), metric=metric
        )
        check_training(run.config(), resume=True)
        runs.append(run)
    command = shlex.join(without_password(argument) for argument in sys.argv)
    list(train_all(runs, job.output / "finalists.json", command, job.num_workers))
    finalists = []
    for candidate, run in zip(chosen, runs, strict=True):
        result = run.result()
        assert result is not None, candidate
        weights = str(folder / result["config_digest"] / "model_final.pth")
        fitness = score_of(result, metric)
        finalists.append(Finalist(candidate, fitness, result["seconds"], weights))
    return sorted(finalists, key=lambda finalist: -finalist.fitness)


def _training_config(cfg: CfgNode) -> CfgNode:
    """Return the config that all finalists share: a network, trained as the supernet was."""
    training = cfg.clone()
    training.defrost()
    training.MODEL.SUPERNET.PATH_SAMPLER = "fixed"
    training.MODEL.INHERIT = False  # the weights are already those of the network
    training.DATASETS.TEST = cfg.DATASETS.ARCHVAL
    scale = cfg.SEARCH.FINALISTS.MAX_ITER / cfg.SOLVER.MAX_ITER
    training.SOLVER.STEPS = tuple(int(step * scale) for step in cfg.SOLVER.STEPS)
    training.SOLVER.WARMUP_ITERS = int(cfg.SOLVER.WARMUP_ITERS * scale)
    training.SOLVER.MAX_ITER = cfg.SEARCH.FINALISTS.MAX_ITER
    training.SOLVER.BASE_LR = cfg.SEARCH.FINALISTS.BASE_LR
    training.TEST.EVAL_PERIOD = 0
    training.SEARCH.STORAGE = ""  # may have a password
    return training
