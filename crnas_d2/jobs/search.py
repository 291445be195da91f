"""The search of a trained supernet, from its config to genotype.yaml."""

import logging
import multiprocessing
import os
import shutil
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import optuna
import torch
from detectron2.engine import default_setup
from detectron2.utils.logger import setup_logger
from torch import nn
from tqdm import tqdm

from crnas_d2.config import import_plugins
from crnas_d2.data import register_datasets
from crnas_d2.modeling import find_supernet
from crnas_d2.report import write_search
from crnas_d2.search import (
    Candidate,
    Searcher,
    evaluated,
    run_worker,
)

from .errors import JobError
from .finalists import check_finalists, train_finalists
from .search_plan import SearchPlan
from .subnets import build_subnet_evaluator, load_supernet, save_subnet

__all__ = ["run_search"]

logger = logging.getLogger(__name__)

WEIGHTS = "model_best.pth"  # of the best network, in OUTPUT_DIR


def run_search(cfg, *, resume: bool = False, num_workers: int = 1) -> Candidate:
    """Score the subnets of a trained supernet, and write the results to ``OUTPUT_DIR``.

    They are ``genotype.yaml``, ``candidates.csv``, ``report.html`` and ``model_best.pth``: the
    weights of the best network in the supernet, from which it can be fine-tuned, or those of the
    best finalist. The study,
    ``search.db``, is the only state, so that a stopped search can be resumed. The terminal shows a
    progress bar, log.txt gets a line per candidate.

    Args:
        cfg: of the supernet's training, with its checkpoint in ``MODEL.WEIGHTS``.
        resume: continue the study in ``OUTPUT_DIR``.
        num_workers: processes that evaluate candidates on this machine.

    Returns:
        the best candidate.

    Raises:
        JobError: settings, weights or the study do not fit; no candidate has a fitness; or
            candidates are missing because a worker died.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        if num_workers < 1:
            raise ValueError(f"--num-workers is {num_workers}; expected at least 1.")
        check_finalists(cfg)
        plan, reachable = SearchPlan.make(cfg)
        model = load_supernet(cfg)
        os.makedirs(cfg.OUTPUT_DIR, exist_ok=True)
        study = plan.open_study(resume)
    except ValueError as error:
        raise JobError(str(error)) from error
    default_setup(cfg, Namespace(resume=resume, num_workers=num_workers))
    # Detectron2 asks torch about tracing, which warns each time and would break the progress bar.
    logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
    # Lines per candidate only go to log.txt, because the terminal has the progress bar.
    setup_logger(cfg.OUTPUT_DIR, name="crnas_d2", configure_stdout=False)
    for line in reachable:
        print(line)
        logger.info(line)

    space = find_supernet(model).space
    searcher = plan.searcher(space)
    _evaluate_all(plan, model, study, searcher, num_workers)
    candidates = evaluated(study, space)
    _check_finished(cfg, searcher, candidates)
    finalists = train_finalists(cfg, model, candidates, space, num_workers)
    best = write_search(cfg, candidates, space, plan.costs, finalists)
    weights = Path(cfg.OUTPUT_DIR) / WEIGHTS
    if finalists:
        shutil.copyfile(finalists[0].weights, weights)
    else:
        save_subnet(cfg, model, best.genotype, weights)
    return best


def _evaluate_all(
    plan: SearchPlan, model: nn.Module, study: optuna.Study, searcher: Searcher, num_workers: int
) -> None:
    """Evaluate candidates, in this and in further processes, until none is left."""
    beside = [
        multiprocessing.get_context("spawn").Process(
            target=_work_beside, args=(plan, rank, num_workers)
        )
        for rank in range(1, num_workers)
    ]
    # The first worker is this process, which also shows the progress.
    for process in beside:
        process.start()
    done = evaluated(study, searcher.space)
    with tqdm(total=searcher.total, initial=len(done), desc="search", unit="net") as bar:

        def show_progress() -> None:
            done = evaluated(study, searcher.space)
            if done and done[0].fitness is not None:
                bar.set_postfix_str(f"best {done[0].fitness:.2f} {done[0].genotype}")
            bar.update(len(done) - bar.n)

        try:
            _work(plan, model, show_progress, num_workers)
        except ValueError as error:
            raise JobError(str(error)) from error
    for process in beside:
        process.join()


def _work_beside(plan: SearchPlan, rank: int, num_workers: int) -> None:
    """Run a further worker in its own process, which ends when the first one does."""
    cfg = plan.cfg
    import_plugins(cfg.PLUGINS)
    if cfg.MODEL.DEVICE == "cuda":
        torch.cuda.set_device(rank % torch.cuda.device_count())
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=rank, name="crnas_d2")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    register_datasets(cfg)

    def after_candidate() -> None:
        if not multiprocessing.parent_process().is_alive():
            sys.exit("The first worker is gone; continue with --resume.")

    _work(plan, load_supernet(cfg), after_candidate, num_workers)


def _work(
    plan: SearchPlan, model: nn.Module, after_candidate: Callable[[], None], num_workers: int
) -> None:
    """Evaluate candidates of the study until none is left."""
    cfg = plan.cfg
    # The workers share the cores.
    if model.device.type == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // num_workers))
    evaluator = build_subnet_evaluator(cfg, model)
    space = evaluator.supernet.space
    run_worker(
        plan.open_study(resume=True),
        space,
        plan.searcher(space),
        evaluator,
        cfg.SEARCH.METRIC,
        after_candidate,
        plan.costs.get(cfg.SEARCH.SECOND_OBJECTIVE),
    )


def _check_finished(cfg, searcher: Searcher, candidates: list[Candidate]) -> None:
    # What the searcher still asks for has no result, although all workers have ended.
    missing = len(searcher.propose(candidates)) or searcher.may_ask(candidates, num_running=0)
    if missing:
        raise JobError(
            f"{int(missing)} or more candidates have no result, because a worker died (see the "
            f"messages above and {cfg.OUTPUT_DIR}/log.txt*). Continue with --resume."
        )
    if candidates[0].fitness is None:
        raise JobError(
            f"No candidate has a finite {cfg.SEARCH.METRIC}: the supernet detects nothing yet, or "
            "archval has nothing to score. Train it longer."
        )
