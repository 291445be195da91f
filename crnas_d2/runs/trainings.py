"""Stand-alone trainings of many networks: the reference for a supernet's ranking."""

import fcntl
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import torch

from crnas_d2.common.errors import JobError
from crnas_d2.common.progress import progress_bar
from crnas_d2.config.checks import find_spec
from crnas_d2.engine.checks import check_training
from crnas_d2.engine.training import train

from .results_file import add_entry, check_settings
from .training import Training, common_settings

_LOCK = "lock"


def check_trainings(runs: Sequence[Training], results: Path) -> None:
    """Check all runs before the first one starts.

    Raises:
        ValueError: naming what is wrong: settings that cannot be trained or evaluated, a genotype
            that does not fit the config, or results of another recipe.
    """
    for stage in runs[0].stages:
        cfg = stage.config(with_weights=False)
        if len(cfg.DATASETS.TEST) != 1:
            raise ValueError(
                f"DATASETS.TEST of {stage.config_file} is {tuple(cfg.DATASETS.TEST)}; expected one "
                "dataset, whose score is the result of a network."
            )
        check_training(cfg, resume=True)
    # Datasets and all else are those of the first one.
    for run in runs[1:]:
        for stage in run.stages:
            find_spec(stage.config(with_weights=False))
    check_settings(results, common_settings(runs[0]))


def train_all(
    runs: Sequence[Training],
    results: Path,
    command: str,
    num_workers: int = 1,
    settings: Mapping[str, object] | None = None,
) -> Iterator[dict]:
    """Train what is not trained yet, several at a time, with one thread each.

    A stopped training is resumed, and one that another process works on is skipped. So several
    processes that make the same call on a shared folder share the work. On GPUs, each of the
    trainings has its own as long as there are enough.

    Args:
        results: a JSON file, ``{"command": ..., "settings": ..., "runs": [...]}``, to which results
            are added as they come.
        command: the command that makes the file.
        settings: that the file records, :func:`common_settings` of all runs; ``None`` if they start
            from different weights.

    Yields:
        the result of each run: first those that are finished already, then each as it ends.

    Raises:
        JobError: trainings failed, after all others have ended; the message names a log.
        ValueError: the file holds results of another recipe.
    """
    os.environ["OMP_NUM_THREADS"] = "1"  # of the child processes, so that all round sums alike
    waiting = []
    for run in runs:
        result = run.result()
        if result is None:
            waiting.append(run)
        else:
            add_entry(results, "runs", result, command, settings)
            yield result
    context = multiprocessing.get_context("spawn")
    running: dict[Training, tuple[int, multiprocessing.Process]] = {}
    failed: list[Training] = []
    with progress_bar(total=len(runs), initial=len(runs) - len(waiting), unit="network") as bar:
        while waiting or running:
            while waiting and len(running) < num_workers:
                run = waiting.pop(0)
                place = min(set(range(num_workers)) - {place for place, _ in running.values()})
                running[run] = place, context.Process(target=_train, args=(run, place))
                running[run][1].start()
            time.sleep(1)
            for run in [run for run, (_, process) in running.items() if not process.is_alive()]:
                _, process = running.pop(run)
                bar.update()
                if process.exitcode:
                    failed.append(run)
                    continue
                result = run.result()
                if result is not None:  # otherwise another process works on it
                    add_entry(results, "runs", result, command, settings)
                    yield result
    if failed:
        log = _failed_stage(failed[0])
        raise JobError(
            f"The training of {failed[0].genotype} failed, see {log}."
            + (f" {len(failed) - 1} more failed." if len(failed) > 1 else "")
        )


def _failed_stage(run: Training) -> Path:
    """Return the log of the stage that failed."""
    before = run.pretraining
    stage = before if before is not None and before.result() is None else run
    return Path(stage.config().OUTPUT_DIR) / "stdout.txt"


def _train(run: Training, place: int) -> None:
    """Train a run, its pretraining first, in a process of its own.

    Args:
        place: from 0 on, which no other process has.
    """
    if run.pretraining is not None and run.pretraining.result() is None:
        # In a process of its own, because loggers and seeds are those of a process.
        context = multiprocessing.get_context("spawn")
        before = context.Process(target=_train, args=(run.pretraining, place))
        before.start()
        before.join()
        if before.exitcode:
            sys.exit(before.exitcode)
        if run.pretraining.result() is None:  # another process works on it
            return
    cfg = run.config()
    cfg.freeze()
    if cfg.MODEL.DEVICE == "cuda":
        torch.cuda.set_device(place % torch.cuda.device_count())
    os.makedirs(cfg.OUTPUT_DIR, exist_ok=True)
    with _locked(Path(cfg.OUTPUT_DIR) / _LOCK) as is_ours:
        if not is_ours or run.result() is not None:
            return
        with (
            open(f"{cfg.OUTPUT_DIR}/stdout.txt", "a") as log,
            redirect_stdout(log),
            redirect_stderr(log),
        ):
            check_training(cfg, resume=True)
            train(cfg, resume=True)


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Whether this process has the lock of a file, which ends with it."""
    with open(path, "w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
