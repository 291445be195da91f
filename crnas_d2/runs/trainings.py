"""Trainings of many networks, several at a time: the reference for a supernet's ranking."""

import fcntl
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import torch

from crnas_d2.common.errors import JobError, invalid
from crnas_d2.common.files import check_writable
from crnas_d2.common.progress import progress_bar
from crnas_d2.config.checks import find_spec
from crnas_d2.engine.checks import check_training
from crnas_d2.engine.training import train

from .results import Result, add_entry, check_settings
from .training import Training, common_settings


def check_trainings(trainings: Sequence[Training], results: Path) -> None:
    """Check all trainings, and that the results are of their setup, before the first one starts."""
    check_writable(results.parent, "RESULTS.json")
    check_writable(trainings[0].root, "--runs")
    for stage in trainings[0].stages:
        cfg = stage.config(with_weights=False)
        key, tested = f"DATASETS.TEST of {stage.config_file}", tuple(cfg.DATASETS.TEST)
        if len(tested) != 1:
            raise invalid(key, tested, "one dataset, whose score is the result of a network")
        check_training(cfg, resume=True)
    # Datasets and all else are those of the first one.
    for training in trainings[1:]:
        for stage in training.stages:
            find_spec(stage.config(with_weights=False))
    check_settings(results, common_settings(trainings[0]))


def train_all(
    trainings: Sequence[Training],
    results: Path,
    command: str,
    num_workers: int = 1,
    settings: Mapping[str, object] | None = None,
) -> Iterator[Result]:
    """Train what is not trained yet, several at a time, with one thread each; yield the results.

    A stopped training is resumed, and one that another process works on is skipped, so that
    processes with the same call on a shared folder share the work. Each training has a GPU of its
    own as long as there are enough. Finished ones are yielded first, then each as it ends.

    Args:
        results: a JSON file, ``{"command": ..., "settings": ..., "runs": [...]}``, to which results
            are added as they come.
        settings: :func:`common_settings` of all; ``None`` if they start from different weights.

    Raises JobError if trainings failed, after all others have ended; it names a log. Raises
    ValueError if the file holds results of another setup.
    """
    os.environ["OMP_NUM_THREADS"] = "1"  # of the child processes, so that all round sums alike
    waiting = []
    for training in trainings:
        result = training.result()
        if result is None:
            waiting.append(training)
        else:
            add_entry(results, "runs", result, command, settings)
            yield result
    context = multiprocessing.get_context("spawn")
    running: dict[Training, tuple[int, multiprocessing.process.BaseProcess]] = {}
    failed: list[Training] = []
    done = len(trainings) - len(waiting)
    bar = progress_bar(total=len(trainings), initial=done, unit="networks", desc="Trained")
    with bar, _stopped_with(running):
        while waiting or running:
            while waiting and len(running) < num_workers:
                training = waiting.pop(0)
                place = min(set(range(num_workers)) - {place for place, _ in running.values()})
                running[training] = place, context.Process(target=_train, args=(training, place))
                running[training][1].start()
            time.sleep(1)
            for training, (_, process) in list(running.items()):
                if process.is_alive():
                    continue
                del running[training]
                bar.update()
                if process.exitcode:
                    failed.append(training)
                elif (result := training.result()) is not None:  # else another process works on it
                    add_entry(results, "runs", result, command, settings)
                    yield result
    if failed:
        before = failed[0].pretraining
        stage = before if before is not None and before.result() is None else failed[0]
        more = f" {len(failed) - 1} more failed." if len(failed) > 1 else ""
        raise JobError(f"The training of {stage.genotype} failed, see {_log(stage)}.{more}")


@contextmanager
def _stopped_with(
    running: Mapping[Training, tuple[int, multiprocessing.process.BaseProcess]],
) -> Iterator[None]:
    """Stop processes when this one is stopped; each leaves a checkpoint of its training."""
    try:
        yield
    except BaseException:
        alive = [process for _, process in running.values() if process.is_alive()]
        for process in alive:
            process.terminate()
        for process in alive:
            process.join()
        raise


def _log(training: Training) -> Path:
    return Path(training.config().OUTPUT_DIR) / "stdout.txt"


def _train(training: Training, place: int) -> None:
    """Run a training, its pretraining first; no other process has its place."""
    before = training.pretraining
    if before is not None and before.result() is None:
        # In another process, because loggers and seeds are those of a process.
        process = multiprocessing.get_context("spawn").Process(target=_train, args=(before, place))
        process.start()
        process.join()
        if process.exitcode:
            sys.exit(process.exitcode)
        if before.result() is None:  # another process works on it
            return
    cfg = training.config()
    cfg.freeze()
    if cfg.MODEL.DEVICE == "cuda":
        torch.cuda.set_device(place % torch.cuda.device_count())
    os.makedirs(cfg.OUTPUT_DIR, exist_ok=True)
    with open(Path(cfg.OUTPUT_DIR) / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # of another process
            return
        if training.result() is None:
            with open(_log(training), "a") as log, redirect_stdout(log), redirect_stderr(log):
                check_training(cfg, resume=True)
                try:
                    train(cfg, resume=True)
                except KeyboardInterrupt as stop:
                    sys.exit(str(stop))
