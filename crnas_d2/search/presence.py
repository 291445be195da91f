"""Which worker evaluates a trial, and which workers are gone."""

import os
import socket
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from threading import Event, Thread
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

WORKER, _HEARTBEAT = "worker", "heartbeat"  # user attributes of a trial
BEAT = 30.0  # seconds between two heartbeats
_SILENCE = 60.0  # seconds without one, after which a worker counts as dead
_NAMELESS = 10.0  # the same for one that was killed before it could write who it is


def this_process() -> dict[str, Any]:
    """Return what tells this process from others; plain JSON data."""
    return {"host": socket.gethostname(), "process": os.getpid()}


@contextmanager
def heartbeats(storage: BaseStorage, ids: Collection[int]) -> Iterator[None]:
    """Tell other workers that this process is at work on its trials, whose ids may change."""
    ended = Event()

    def beat() -> None:
        number = count(1)
        while not ended.wait(BEAT):
            for trial_id in list(ids):
                with suppress(Exception):  # what the storage has to say it says to the worker
                    storage.set_trial_user_attr(trial_id, _HEARTBEAT, next(number))

    Thread(target=beat, daemon=True).start()
    try:
        yield
    finally:
        ended.set()


class Lookout:
    """Finds the trials whose worker is gone.

    A process of this machine is gone if the system says so. Another worker is gone if, while the
    storage was available, its heartbeat has not changed for a minute by the observer's clock, or if
    it has not said for ten seconds who it is, which it does first. So clocks may differ. (Optuna's
    heartbeat compares times in the database: after an outage, the first worker that returns takes
    all others for dead. And a journal has none.)
    """

    def __init__(self) -> None:
        self._seen: dict[int, tuple[object, float]] = {}  # the last heartbeat of a trial, and when

    def find_dead(self, study: optuna.Study, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Return those of all trials that run without a worker; called by an idle worker."""
        now = time.monotonic()
        seen, self._seen = self._seen, {}
        dead = []
        for trial in (t for t in trials if t.state == TrialState.RUNNING):
            heartbeat = trial.user_attrs.get(_HEARTBEAT)
            before, since = seen.get(trial.number, (heartbeat, now))
            since = since if before == heartbeat else now
            self._seen[trial.number] = heartbeat, since
            available_since = getattr(study._storage, "available_since", since)
            patience = _NAMELESS if _worker_of(trial) is None else _SILENCE
            if has_ended(trial) or now - max(since, available_since) > patience:
                dead.append(trial)
        return dead


def has_ended(trial: FrozenTrial) -> bool:
    """Whether a trial was that of a process of this machine that has ended."""
    worker = _worker_of(trial)
    # This worker is idle, so an earlier process had the same id.
    return worker is not None and (is_gone(worker) or worker | this_process() == worker)


def is_gone(process: Mapping[str, Any]) -> bool:
    """Whether a process of :func:`this_process` was one of this machine and has ended."""
    if process["host"] != socket.gethostname():
        return False
    try:
        os.kill(process["process"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # another user's
    try:
        status = Path(f"/proc/{process['process']}/stat").read_bytes()
    except OSError:  # not Linux, or it is gone by now
        return False
    # A zombie, whose parent has not asked for its exit status yet, has ended, too.
    return status.rpartition(b")")[2].split()[0] in (b"Z", b"X")


def _worker_of(trial: FrozenTrial) -> dict[str, Any] | None:
    worker: dict[str, Any] | None = trial.user_attrs.get(WORKER)
    # A trial that is tried again may have copied the attributes of the first one.
    is_own = worker is not None and worker.get("trial", trial.number) == trial.number
    return worker if is_own else None
