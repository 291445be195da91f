"""The workers of a search on this machine: this process, and those beside it."""

import logging
import math
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import optuna
import torch
from detectron2.utils.logger import setup_logger
from tqdm import tqdm

from crnas_d2.config import import_plugins
from crnas_d2.data import register_datasets
from crnas_d2.engine.scores import Score, build_score
from crnas_d2.evaluation import NoiseFiles
from crnas_d2.search import Candidate, Searcher, Stopped, StorageError, evaluated, run_worker
from crnas_d2.space import Genotype

from .plan import SearchPlan
from .progress import SearchProgress
from .racing import make_race

logger = logging.getLogger(__name__)


def evaluate_all(
    plan: SearchPlan,
    evaluate: Score,
    study: optuna.Study,
    searcher: Searcher,
    num_workers: int,
) -> None:
    """Evaluate candidates, in this and in further processes, until none is left.

    Raises:
        ValueError, StorageError: as :func:`crnas_d2.search.run_worker`; all processes are stopped.
    """
    _share_cores(plan.cfg, num_workers)

    def count(candidates: Sequence[Candidate]) -> int:
        # A search that samples replaces those that fail.
        return sum(c.fitness is not None or searcher.sampler is None for c in candidates)

    before = count(evaluated(study, searcher.space))
    with (
        _warnings_on_terminal(),
        _Beside(plan, num_workers) as beside,
        SearchProgress(searcher.total, before) as progress,
    ):

        def show_progress() -> None:
            beside.report_deaths()
            candidates = evaluated(study, searcher.space)
            progress.show(count(candidates), candidates)

        show_progress()
        work(plan, evaluate, study, searcher, show_progress)
        show_progress()  # the last candidate may have been that of another worker


class _Beside:
    """The processes beside this one; they are stopped if this one ends with an error."""

    def __init__(self, plan: SearchPlan, num_workers: int):
        spawn = multiprocessing.get_context("spawn")
        self.processes = {
            rank: spawn.Process(target=_work_beside, args=(plan, rank, num_workers))
            for rank in range(1, num_workers)
        }
        self.reported: set[int] = set()

    def __enter__(self) -> "_Beside":
        for process in self.processes.values():
            process.start()
        return self

    def report_deaths(self) -> None:
        for rank, process in self.processes.items():
            if process.exitcode and rank not in self.reported:
                self.reported.add(rank)
                how = f"exit status {process.exitcode}"
                if process.exitcode < 0:
                    how = f"signal {signal.Signals(-process.exitcode).name}"
                logger.warning(
                    "Worker %d of %d ended with %s; the others take over its candidate.",
                    *(rank + 1, len(self.processes) + 1, how),
                )

    def __exit__(self, kind, _error, _traceback) -> None:
        if kind is not None:
            for process in self.processes.values():
                process.terminate()
        for process in self.processes.values():
            process.join()


def _work_beside(plan: SearchPlan, rank: int, num_workers: int) -> None:
    """Run a further worker in its own process, which ends when the first one does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process stops this one
    cfg = plan.cfg
    import_plugins(cfg.PLUGINS)
    if cfg.MODEL.DEVICE == "cuda":
        torch.cuda.set_device(rank % torch.cuda.device_count())
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=rank, name="crnas_d2")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.raiseExceptions = False
    register_datasets(cfg)

    def after_candidate() -> None:
        if not multiprocessing.parent_process().is_alive():
            sys.exit("The first worker is gone; continue with --resume.")

    evaluate = build_score(cfg)
    _share_cores(plan.cfg, num_workers)
    try:
        work(plan, evaluate, plan.open_study(resume=True), plan.searcher(), after_candidate)
    except (ValueError, StorageError) as error:
        sys.exit(f"Worker {rank + 1} of {num_workers}: {error}")


def _share_cores(cfg, num_workers: int) -> None:
    if cfg.MODEL.DEVICE == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // num_workers))


def work(
    plan: SearchPlan,
    evaluate: Score,
    study: optuna.Study,
    searcher: Searcher,
    after_candidate: Callable[[], None],
) -> None:
    """Evaluate candidates of the study until none is left."""
    space, metric = searcher.space, plan.cfg.SEARCH.METRIC
    noise = NoiseFiles(plan.cfg.OUTPUT_DIR)
    race = make_race(plan.cfg, study, searcher)

    def evaluate_and_resample(genotype: Genotype) -> dict[str, float] | Stopped:
        metrics = evaluate(genotype, race) if race is not None else evaluate(genotype)
        if isinstance(metrics, Stopped):
            return metrics
        # The samples of a prefix would also vary with its completions.
        results = evaluate.image_results(metric) if space.is_complete(genotype) else None
        if results is not None:
            try:
                fitness = metrics.get(metric, math.nan)
                noise.write(genotype, fitness, results, however_large=race is not None)
            except OSError as error:  # the candidate has its fitness, if no interval
                logger.warning("No interval for %s: %s", genotype, error)
        return metrics

    run_worker(
        study,
        space,
        searcher,
        evaluate_and_resample,
        metric,
        after_candidate,
        plan.costs.get(plan.cfg.SEARCH.SECOND_OBJECTIVE),
        # A detector without some of its blocks may detect nothing until it is fine-tuned.
        stops_early=not plan.cfg.MODEL.INHERIT,
    )


@contextmanager
def _warnings_on_terminal() -> Iterator[None]:
    """Show warnings above the progress bar, too; all else is in log.txt only."""

    class Terminal(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            tqdm.write(record.getMessage(), file=sys.stderr)

    handler = Terminal(logging.WARNING)
    package = logging.getLogger("crnas_d2")
    package.addHandler(handler)
    try:
        yield
    finally:
        package.removeHandler(handler)
