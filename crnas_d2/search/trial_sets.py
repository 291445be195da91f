"""Sets of trials in any storage of Optuna: begin them, end them, read those that have changed.

Optuna's interface has one operation per trial and attribute, and reads all trials of a study.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, JournalStorage
from optuna.trial import FrozenTrial, TrialState

from .database import Database, Ending

T = TypeVar("T")


def add_trials(storage: BaseStorage, study_id: int, templates: Sequence[FrozenTrial]) -> list[int]:
    """Add trials like these to a study; return their ids."""

    def add(storage: BaseStorage) -> list[int]:
        if (database := _database(storage)) is not None:
            return [trial._trial_id for trial in database.add_trials(study_id, templates)]
        return [storage.create_new_trial(study_id, template) for template in templates]

    return _perform(storage, add)


def claim_trials(
    storage: BaseStorage, trial_ids: Sequence[int], user_attrs: dict[str, Any]
) -> list[bool]:
    """Begin trials that wait; return which ones no other worker has begun. Those get attributes."""

    def claim(storage: BaseStorage) -> list[bool]:
        if (database := _database(storage)) is not None:
            return database.claim_trials(trial_ids, user_attrs)
        return [_claim(storage, trial_id, user_attrs) for trial_id in trial_ids]

    return _perform(storage, claim)


def end_trials(storage: BaseStorage, endings: Sequence[Ending]) -> list[bool]:
    """End trials; return which ones had not been ended by another worker."""

    def end(storage: BaseStorage) -> list[bool]:
        if (database := _database(storage)) is not None:
            return database.end_trials(endings)
        return [_end(storage, ending) for ending in endings]

    return _perform(storage, end)


def read_trials(
    storage: BaseStorage, study_id: int, ids: Collection[int], newest: int
) -> list[FrozenTrial]:
    """Return the trials of these ids and those that are newer, by number; not to be changed.

    Args:
        newest: the greatest id that is known; -1: none.
    """

    def read(storage: BaseStorage) -> list[FrozenTrial]:
        if (database := _database(storage)) is not None:
            return database._get_trials(study_id, None, ids, newest)
        if isinstance(storage, JournalStorage):
            with storage._thread_lock:
                storage._sync_with_backend()
                replayed = storage._replay_result
                own = replayed._study_id_to_trial_ids[study_id]
                new = own[bisect_right(own, newest) :]
                return [replayed._trials[trial_id] for trial_id in (*sorted(ids), *new)]
        if (read_some := getattr(storage, "read_trials", None)) is not None:  # behind a server
            some: list[FrozenTrial] = read_some(study_id, ids, newest)
            return some
        trials, key = storage.get_all_trials(study_id, deepcopy=False), _id_of
        old = [trials[bisect_left(trials, trial_id, key=key)] for trial_id in sorted(ids)]
        return old + trials[bisect_right(trials, newest, key=key) :]

    return _perform(storage, read)


def _perform(storage: BaseStorage, operation: Callable[[BaseStorage], T]) -> T:
    """Perform an operation on a storage, or on the one behind a storage that waits for it."""
    perform: Any = getattr(type(storage), "perform", None)
    return operation(storage) if perform is None else perform(storage, operation)


def _database(storage: BaseStorage) -> Database | None:
    backend = getattr(storage, "_backend", storage)  # behind Optuna's cache
    return backend if isinstance(backend, Database) else None


def _claim(storage: BaseStorage, trial_id: int, user_attrs: dict[str, Any]) -> bool:
    try:
        if not storage.set_trial_state_values(trial_id, TrialState.RUNNING):
            return False
    except UpdateFinishedTrialError:
        return False
    for key, value in user_attrs.items():
        storage.set_trial_user_attr(trial_id, key, value)
    return True


def _end(storage: BaseStorage, ending: Ending) -> bool:
    try:
        for key, value in ending.user_attrs.items():
            storage.set_trial_user_attr(ending.trial_id, key, value)
        return storage.set_trial_state_values(ending.trial_id, ending.state, ending.values)
    except UpdateFinishedTrialError:
        return False


def _id_of(trial: FrozenTrial) -> int:
    return trial._trial_id
