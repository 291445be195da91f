"""The final round of a search: its best candidates, trained by themselves.

A supernet tells bad networks from good ones, but not the best of the good ones apart.
"""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from detectron2.config import CfgNode
from torch import nn

from crnas_d2.common.digests import text_digest
from crnas_d2.engine.subnets import save_subnet
from crnas_d2.engine.training import check_training
from crnas_d2.runs.ranking import score_of
from crnas_d2.runs.training import Training
from crnas_d2.runs.trainings import train_all
from crnas_d2.search import Candidate, Finalist, without_password
from crnas_d2.space import SearchSpace


def train_finalists(
    cfg,
    model: nn.Module | None,
    candidates: Sequence[Candidate],
    space: SearchSpace,
    num_workers: int,
) -> list[Finalist]:
    """Fine-tune the best candidates from their weights in the supernet; score them on archval.

    Each has a folder in ``OUTPUT_DIR/finalists`` and is resumed or, if it is finished, not trained
    again. Their results are kept in ``OUTPUT_DIR/finalists.json``.

    Args:
        model: the supernet; without one, all start from ``MODEL.WEIGHTS``, or from scratch.
        candidates: the best first.
        num_workers: trainings at a time.

    Returns:
        ``SEARCH.FINALISTS.NUMBER`` of them, or as many complete candidates as there are, the best
        first.
    """
    if not cfg.SEARCH.FINALISTS.NUMBER:
        return []
    complete = [c for c in candidates if c.fitness is not None and space.is_complete(c.genotype)]
    chosen = complete[: cfg.SEARCH.FINALISTS.NUMBER]
    folder = Path(cfg.OUTPUT_DIR) / "finalists"
    folder.mkdir(exist_ok=True)
    recipe = folder / "recipe.yaml"
    recipe.write_text(_recipe(cfg).dump())
    print(f"The {len(chosen)} best candidates are trained by themselves, in {folder}:")
    runs = []
    for candidate in chosen:
        name = text_digest(str(candidate.genotype))
        weights = ()
        if model is not None:
            file = folder / f"{name}.pth"
            if not file.exists():
                save_subnet(cfg, model, candidate.genotype, file)
            weights = ("MODEL.WEIGHTS", str(file))
        run = Training(
            *(candidate.genotype, cfg.SEED, str(recipe), weights, folder),
            metric=cfg.SEARCH.METRIC,
        )
        check_training(run.config(), resume=True)
        runs.append(run)
    results = Path(cfg.OUTPUT_DIR) / "finalists.json"
    command = shlex.join(without_password(argument) for argument in sys.argv)
    list(train_all(runs, results, command, num_workers))
    finalists = [
        Finalist(
            candidate,
            fitness=score_of(result, cfg.SEARCH.METRIC),
            seconds=result["seconds"],
            weights=str(folder / result["config_digest"] / "model_final.pth"),
        )
        for candidate, result in zip(chosen, [run.result() for run in runs], strict=True)
    ]
    return sorted(finalists, key=lambda finalist: -finalist.fitness)


def _recipe(cfg) -> CfgNode:
    """Return the config that all finalists share: a network, trained as the supernet was."""
    recipe = cfg.clone()
    recipe.defrost()
    recipe.MODEL.SUPERNET.PATH_SAMPLER = "fixed"
    recipe.MODEL.INHERIT = False  # the weights are already those of the network
    recipe.DATASETS.TEST = cfg.DATASETS.ARCHVAL
    scale = cfg.SEARCH.FINALISTS.MAX_ITER / cfg.SOLVER.MAX_ITER
    recipe.SOLVER.STEPS = tuple(int(step * scale) for step in cfg.SOLVER.STEPS)
    recipe.SOLVER.WARMUP_ITERS = int(cfg.SOLVER.WARMUP_ITERS * scale)
    recipe.SOLVER.MAX_ITER = cfg.SEARCH.FINALISTS.MAX_ITER
    recipe.SOLVER.BASE_LR = cfg.SEARCH.FINALISTS.BASE_LR
    recipe.TEST.EVAL_PERIOD = 0
    recipe.SEARCH.STORAGE = ""  # may have a password
    return recipe
