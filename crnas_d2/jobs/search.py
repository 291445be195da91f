"""The search of a trained supernet, from its config to genotype.yaml."""

import logging
import multiprocessing
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import optuna
import torch
from detectron2.engine import default_setup
from detectron2.utils.logger import setup_logger
from torch import nn
from tqdm import tqdm

from crnas_d2.checkpoint import StrictCheckpointer
from crnas_d2.config import NetworkSpec, import_plugins
from crnas_d2.cost import build_budgets, build_costs
from crnas_d2.data import build_fixed_batches, register_datasets
from crnas_d2.engine import Trainer
from crnas_d2.evaluation import (
    SubnetEvaluator,
    batch_statistics,
    build_evaluator,
    calibrated,
    metric_names,
)
from crnas_d2.modeling import find_supernet
from crnas_d2.report import write_search
from crnas_d2.search import (
    Candidate,
    Searcher,
    build_searcher,
    evaluated,
    open_study,
    run_worker,
    study_url,
)
from crnas_d2.space import AdditiveCost, Budget, SearchSpace, check_budgets

from .checks import check_config
from .describe import describe_search
from .errors import JobError

__all__ = ["check_search", "load_supernet", "run_search"]

logger = logging.getLogger(__name__)


def run_search(cfg, *, resume: bool = False, num_workers: int = 1) -> Candidate:
    """Score the subnets of a trained supernet, and write what is best into ``OUTPUT_DIR``.

    ``genotype.yaml``, ``candidates.csv``, ``report.html``; the study, ``search.db``, is the only
    state, so that a search which was stopped goes on. The terminal has a progress bar, log.txt a
    line per candidate.

    Args:
        cfg: with which the supernet was trained, its checkpoint in ``MODEL.WEIGHTS``.
        resume: go on with the study in ``OUTPUT_DIR``.
        num_workers: processes that evaluate candidates on this machine.

    Returns:
        the best candidate.

    Raises:
        JobError: settings, weights or a study that do not fit; no candidate with a fitness, or
            candidates that are missing because a worker died.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        if num_workers < 1:
            raise ValueError(f"--num-workers is {num_workers}; expected at least 1.")
        search, reachable = _Search.plan(cfg)
        model = load_supernet(cfg)
        os.makedirs(cfg.OUTPUT_DIR, exist_ok=True)
        study = search.open_study(resume)
    except ValueError as error:
        raise JobError(str(error)) from error
    default_setup(cfg, Namespace(resume=resume, num_workers=num_workers))
    # Detectron2 asks torch about tracing, and torch warns of its own answer: not in our bar.
    logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
    # A line per candidate goes to log.txt alone; the terminal has the progress bar.
    setup_logger(cfg.OUTPUT_DIR, name="crnas_d2", configure_stdout=False)
    for line in reachable:
        print(line)
        logger.info(line)

    space = find_supernet(model).space
    searcher = search.searcher(space)
    _evaluate_all(search, model, study, searcher, num_workers)
    candidates = evaluated(study, space)
    _check_finished(cfg, searcher, candidates)
    return write_search(cfg, candidates, space, search.costs)


def check_search(cfg) -> NetworkSpec:
    """Refuse a config with which there is nothing to search.

    Returns:
        what it says of the backbone.

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
            "supernet is trained: train_net.py writes genotype.yaml when it is done."
        )
    if not cfg.MODEL.WEIGHTS:
        raise ValueError("MODEL.WEIGHTS is empty: name the checkpoint of the trained supernet.")
    if len(cfg.DATASETS.ARCHVAL) != 1:
        raise ValueError(
            f"DATASETS.ARCHVAL is {cfg.DATASETS.ARCHVAL}; expected exactly one dataset."
        )
    if os.path.exists(os.path.join(cfg.OUTPUT_DIR, "last_checkpoint")):
        raise ValueError(
            f"OUTPUT_DIR {cfg.OUTPUT_DIR} holds a training, whose files a search would overwrite; "
            "choose another OUTPUT_DIR."
        )
    partial_bn = cfg.SEARCH.BN_CALIBRATION.PARTIAL
    if partial_bn not in ("batch", "calibration"):
        raise ValueError(
            f"SEARCH.BN_CALIBRATION.PARTIAL is '{partial_bn}'; expected 'batch' or 'calibration'."
        )
    return spec


def load_supernet(cfg) -> nn.Module:
    """The supernet of a config with its trained weights.

    Raises:
        ValueError: weights that do not fit.
    """
    model = Trainer.build_model(cfg)
    StrictCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    return model


@dataclass(frozen=True)
class _Search:
    """What all workers of a search have in common.

    Attributes:
        costs: by name, those that are limited, minimized or reported.
        budgets: what a candidate may cost.
        description: what makes it the same search.
    """

    cfg: object
    costs: Mapping[str, AdditiveCost]
    budgets: tuple[Budget, ...]
    description: Mapping[str, object]

    @classmethod
    def plan(cls, cfg) -> tuple["_Search", list[str]]:
        """A checked search, and how much of the space is feasible, in words."""
        check_config(cfg, ["TRAIN", "ARCHVAL", "TEST"])
        spec = check_search(cfg)
        metrics = metric_names(cfg, cfg.DATASETS.ARCHVAL[0])
        if cfg.SEARCH.METRIC not in metrics:
            raise ValueError(
                f"SEARCH.METRIC is '{cfg.SEARCH.METRIC}'; {cfg.DATASETS.ARCHVAL[0]} gives "
                f"{', '.join(metrics)}."
            )
        costs = build_costs(cfg, spec)
        budgets = build_budgets(cfg, costs)
        reachable = check_budgets(spec.space, budgets)
        searcher = build_searcher(cfg, spec.space, budgets)
        description = describe_search(cfg, spec.space, searcher, budgets, costs)
        return cls(cfg, costs, budgets, description), reachable

    def searcher(self, space: SearchSpace) -> Searcher:
        return build_searcher(self.cfg, space, self.budgets)

    def open_study(self, resume: bool) -> optuna.Study:
        cfg = self.cfg
        directions = ["maximize", "minimize"] if cfg.SEARCH.SECOND_OBJECTIVE else ["maximize"]
        return open_study(
            *(study_url(cfg), cfg.SEARCH.STUDY_NAME, self.description),
            resume=resume,
            directions=directions,
        )


def _evaluate_all(
    search: _Search, model: nn.Module, study: optuna.Study, searcher: Searcher, num_workers: int
) -> None:
    """Evaluate candidates, here and in further processes, until none is left."""
    beside = [
        multiprocessing.get_context("spawn").Process(
            target=_work_beside, args=(search, rank, num_workers)
        )
        for rank in range(1, num_workers)
    ]
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
            _work(search, model, show_progress, num_workers)
        except ValueError as error:
            raise JobError(str(error)) from error
    for process in beside:
        process.join()


def _work_beside(search: _Search, rank: int, num_workers: int) -> None:
    """A further worker, in a process of its own, which ends when the first one does."""
    cfg = search.cfg
    import_plugins(cfg.PLUGINS)
    if cfg.MODEL.DEVICE == "cuda":
        torch.cuda.set_device(rank % torch.cuda.device_count())
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=rank, name="crnas_d2")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    register_datasets(cfg)

    def after_candidate() -> None:
        if not multiprocessing.parent_process().is_alive():
            sys.exit("The first worker is gone; go on with --resume.")

    _work(search, load_supernet(cfg), after_candidate, num_workers)


def _work(
    search: _Search, model: nn.Module, after_candidate: Callable[[], None], num_workers: int
) -> None:
    """Evaluate candidates of the study until none is left."""
    cfg = search.cfg
    if model.device.type == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // num_workers))
    calibration = build_fixed_batches(
        cfg,
        cfg.DATASETS.TRAIN,
        num_images=cfg.SEARCH.BN_CALIBRATION.NUM_IMAGES,
        with_annotations=True,
    )
    calibrate = partial(calibrated, batches=calibration)
    by_batch = cfg.SEARCH.BN_CALIBRATION.PARTIAL == "batch"
    evaluator = SubnetEvaluator(
        model,
        build_fixed_batches(cfg, cfg.DATASETS.ARCHVAL),
        build_evaluator(cfg, cfg.DATASETS.ARCHVAL[0], in_search=True),
        calibrate,
        batch_statistics if by_batch else calibrate,
        seed=cfg.SEED,
    )
    space = evaluator.supernet.space
    run_worker(
        search.open_study(resume=True),
        space,
        search.searcher(space),
        evaluator,
        cfg.SEARCH.METRIC,
        after_candidate,
        search.costs.get(cfg.SEARCH.SECOND_OBJECTIVE),
    )


def _check_finished(cfg, searcher: Searcher, candidates: list[Candidate]) -> None:
    missing = len(searcher.propose(candidates)) or searcher.may_ask(candidates, num_running=0)
    if missing:
        raise JobError(
            f"{int(missing)} or more candidates have no result, because a worker died (see the "
            f"messages above and {cfg.OUTPUT_DIR}/log.txt*). Go on with --resume."
        )
    if candidates[0].fitness is None:
        raise JobError(
            f"No candidate has a finite {cfg.SEARCH.METRIC}: the supernet detects nothing yet, or "
            "archval has nothing to score. Train it longer."
        )
