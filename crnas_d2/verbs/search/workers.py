"""The workers of a search on this machine: this process, and those beside it."""

import logging
import math
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice

import optuna
import torch
from detectron2.utils.logger import setup_logger
from tqdm import tqdm

from crnas_d2.common.progress import can_redraw
from crnas_d2.engine.scores import Score
from crnas_d2.evaluation import ImageResults, NoiseFiles, Race, Rival
from crnas_d2.search import Candidates, History, Stopped, StorageError, folders, run_worker
from crnas_d2.space import Genotype, SearchSpace

from .job import SearchJob

logger = logging.getLogger(__name__)

_PERIOD = 60.0  # seconds between two lines of progress in a file


def evaluate_all(job: SearchJob, evaluate: Score, study: optuna.Study) -> None:
    """Evaluate candidates in this and in further processes; an error here stops all of them."""
    searcher = job.searcher
    _share_cores(job)

    def count(candidates: Candidates) -> int:
        # A search that samples replaces those that fail.
        return len(candidates) if searcher.sampler is None else candidates.num_scored

    before = History(study, searcher.space).candidates
    progress = SearchProgress(searcher.total, count(before))
    with _warnings_on_terminal(), _others(job) as report_deaths, progress:

        def show_progress(candidates: Candidates) -> None:
            report_deaths()
            progress.show(count(candidates), candidates)

        show_progress(before)
        work(job, evaluate, study, show_progress)
        # The last candidate may have been that of another worker.
        show_progress(History(study, searcher.space).candidates)


@contextmanager
def _others(job: SearchJob) -> Iterator[Callable[[], None]]:
    """Run the other workers, which are stopped if this one fails; yield what reports deaths."""
    spawn = multiprocessing.get_context("spawn")
    ranks = range(1, job.num_workers)
    processes = [spawn.Process(target=_work_beside, args=(job, rank)) for rank in ranks]
    reported: set[int] = set()

    def report_deaths() -> None:
        for rank, process in enumerate(processes, 1):
            if (code := process.exitcode) and rank not in reported:
                reported.add(rank)
                name = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
                how = f"ended with {name}; the others take over its candidate."
                logger.warning("Worker %d of %d %s", rank + 1, job.num_workers, how)

    for process in processes:
        process.start()
    try:
        yield report_deaths
    except BaseException:
        for process in processes:
            process.terminate()
        raise
    finally:
        for process in processes:
            process.join()


def _work_beside(job: SearchJob, rank: int) -> None:
    """Run a further worker in its own process, which ends when the first one does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process stops this one
    if job.device == "cuda":
        torch.cuda.set_device(rank % torch.cuda.device_count())
    setup_logger(str(job.output), distributed_rank=rank, name="crnas_d2")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.raiseExceptions = False

    def after_candidate(_: Candidates) -> None:
        parent = multiprocessing.parent_process()
        if parent is None or not parent.is_alive():
            sys.exit("The first worker is gone; continue with --resume.")

    evaluate = job.build_score()
    _share_cores(job)
    try:
        work(job, evaluate, job.study.open(resume=True), after_candidate)
    except (ValueError, StorageError) as error:
        sys.exit(f"Worker {rank + 1} of {job.num_workers}: {error}")


def _share_cores(job: SearchJob) -> None:
    if job.device == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // job.num_workers))


def work(
    job: SearchJob,
    evaluate: Score,
    study: optuna.Study,
    after_candidate: Callable[[Candidates], None],
) -> None:
    """Evaluate candidates of the study until none is left."""
    space, metric = job.space, job.metric
    noise = NoiseFiles(job.output)
    race: Race | None = None
    if (racing := job.racing) is not None:

        def read(genotype: Genotype, fitness: float) -> ImageResults | None:
            return NoiseFiles(job.output, folders(study)).read_results(genotype, fitness)

        find = rival_finder(study, space, racing.num_kept, read)
        race = Race(metric, racing.pauses, racing.confidence, find)

    def evaluate_and_resample(genotype: Genotype) -> Mapping[str, float] | Stopped:
        metrics = evaluate(genotype, race) if race is not None else evaluate(genotype)
        # The samples of a prefix would also vary with its completions.
        if isinstance(metrics, Stopped) or not space.is_complete(genotype):
            return metrics
        if (results := evaluate.image_results(metric)) is not None:
            fitness = metrics.get(metric, math.nan)
            try:
                noise.write(genotype, fitness, results, keeps_all=race is not None)
            except OSError as error:  # the candidate has its fitness, if no interval
                logger.warning("No interval for %s: %s", genotype, error)
        return metrics

    run_worker(
        study,
        job.searcher,
        evaluate_and_resample,
        metric,
        after_candidate,
        job.second_objective,
        # A detector without some of its blocks may detect nothing until it is fine-tuned.
        stops_early=not job.inherits,
    )


def rival_finder(
    study: optuna.Study,
    space: SearchSpace,
    num_kept: int,
    read: Callable[[Genotype, float], ImageResults | None],
) -> Callable[[], Rival | None]:
    """Return what finds the candidate that another one has to reach: the worst of the best ones.

    Where its image results cannot be read, e.g. because they are on another machine, the next one
    takes its place: a candidate that cannot reach a worse one is stopped, too.

    Args:
        num_kept: number of candidates that are not to be mistaken for worse ones.
        read: returns the image results of a candidate by its genotype and fitness, or ``None``.
    """
    history, last = History(study, space), dict[Genotype, Rival]()

    def find() -> Rival | None:
        history.update()
        whole = (c for c in history.candidates if c.images is None)
        for candidate in islice(whole, num_kept - 1, None):
            genotype, fitness = candidate.genotype, candidate.fitness
            if fitness is None:
                break  # those without one are the last
            if genotype not in last:
                if (results := read(genotype, fitness)) is None:
                    continue
                last.clear()
                last[genotype] = Rival(fitness, results)
            return last[genotype]
        return None

    return find


class SearchProgress:
    """Shows how many candidates are done, of a total that may be known, and the best one so far."""

    def __init__(self, total: int | None, done: int):
        self.total, self.text = total, ""
        self.first = self.done = done
        self.start = self.shown = time.monotonic()
        self.bar: tqdm | None = None
        if can_redraw():  # otherwise each state of the bar would be a line of its own
            self.bar = tqdm(
                total=total, initial=done, desc="search", unit="net", dynamic_ncols=True
            )

    def __enter__(self) -> "SearchProgress":
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()
        elif self.done > self.first:
            self._write_line()

    def show(self, done: int, candidates: Candidates) -> None:
        """Show how many candidates count, and what all that are evaluated have given."""
        scored, texts = candidates.num_scored, []
        if scored:
            texts.append(f"best {candidates[0].fitness:.2f} {candidates[0].genotype}")
        if failed := len(candidates) - scored:
            texts.append(f"{failed} failed")
        if candidates.num_stopped:
            texts.append(f"{candidates.num_stopped} stopped early")
        is_first = self.done == self.first < done
        self.done, self.text = done, ", ".join(texts)
        if self.bar is not None:
            self.bar.set_postfix_str(self.text, refresh=False)
            self.bar.update(done - self.bar.n)
            self.bar.refresh()
        elif is_first or time.monotonic() - self.shown >= _PERIOD:
            self._write_line()

    def _write_line(self) -> None:
        self.shown = time.monotonic()
        rate = (self.done - self.first) / max(self.shown - self.start, 1e-9)
        parts = [f"{self.done}{'' if self.total is None else f'/{self.total}'} networks"]
        if self.total is not None and rate > 0:
            parts.append(f"{tqdm.format_interval((self.total - self.done) / rate)} left")
        print(f"search: {', '.join([*parts, self.text])}", file=sys.stderr, flush=True)


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
