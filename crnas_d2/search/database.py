"""A database of Optuna in which sets of trials are begun, ended and read with few statements.

Optuna itself writes each parameter with three statements, counts all trials to number a new one,
and reads trials through objects of SQLAlchemy. The tables are Optuna's, so all of its programs,
e.g. its dashboard, read them.
"""

import json
from collections import defaultdict
from collections.abc import Collection, Container, Iterator, Sequence
from copy import copy
from datetime import datetime, timezone
from functools import cache, lru_cache
from typing import Any, NamedTuple

from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import Connection, bindparam, delete, insert, select, update

_STUDIES: Any = models.StudyModel.__table__
_TRIALS: Any = models.TrialModel.__table__
_PARAMS: Any = models.TrialParamModel.__table__
_VALUES: Any = models.TrialValueModel.__table__
_USER: Any = models.TrialUserAttributeModel.__table__
_SYSTEM: Any = models.TrialSystemAttributeModel.__table__
_STEPS: Any = models.TrialIntermediateValueModel.__table__

_AT_ONCE = 1_000  # trials whose values are read by one statement


class Ending(NamedTuple):
    """How a trial ends."""

    trial_id: int
    state: TrialState
    values: Sequence[float] | None
    user_attrs: dict[str, Any]


class Database(RDBStorage):
    """Optuna's storage in a database, with transactions for sets of trials."""

    def add_trials(self, study_id: int, templates: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Add trials in one transaction; return them with their numbers."""
        added = [copy(template) for template in templates]
        with self.engine.begin() as connection:
            # The row is locked, as by Optuna, because the numbers of trials follow each other.
            study = select(_STUDIES.c.study_id).where(_STUDIES.c.study_id == study_id)
            if connection.execute(study.with_for_update()).first() is None:
                raise KeyError(f"No study has the id {study_id}.")
            numbers = select(_TRIALS.c.number).where(_TRIALS.c.study_id == study_id)
            last = connection.scalar(numbers.order_by(_TRIALS.c.trial_id.desc()).limit(1))
            for number, trial in enumerate(added, 0 if last is None else last + 1):
                row: dict[str, Any] = {"study_id": study_id, "number": number, "state": trial.state}
                row["datetime_start"] = _utc(trial.datetime_start)
                row["datetime_complete"] = _utc(trial.datetime_complete)
                key = connection.execute(insert(_TRIALS).values(row)).inserted_primary_key
                assert key is not None
                trial.number, trial._trial_id = number, key[0]
            _insert(connection, _PARAMS, [row for trial in added for row in _params(trial)])
            for table, name in ((_USER, "user_attrs"), (_SYSTEM, "system_attrs")):
                rows = [r for t in added for r in _attributes(t._trial_id, getattr(t, name))]
                _insert(connection, table, rows)
            values = [row for t in added for row in _values(t._trial_id, t.values)]
            _insert(connection, _VALUES, values)
        return added

    def claim_trials(self, trial_ids: Sequence[int], user_attrs: dict[str, Any]) -> list[bool]:
        """Begin trials that wait, in one transaction; return which ones no other worker has begun.

        Those get the attributes.
        """
        c = _TRIALS.c
        with self.engine.begin() as connection:
            states = self._states(connection, trial_ids)
            waiting = [i for i in trial_ids if states[i] == TrialState.WAITING]
            new = {"state": _RUNNING, "datetime_start": _utc(datetime.now())}
            connection.execute(update(_TRIALS).where(c.trial_id.in_(waiting)).values(new))
            users = [row for trial_id in waiting for row in _attributes(trial_id, user_attrs)]
            _insert(connection, _USER, users)
        return [trial_id in waiting for trial_id in trial_ids]

    def end_trials(self, endings: Sequence[Ending]) -> list[bool]:
        """End trials in one transaction; return which ones had not been ended by another worker."""
        now, ids, c = _utc(datetime.now()), [ending.trial_id for ending in endings], _TRIALS.c
        with self.engine.begin() as connection:
            states = self._states(connection, ids)
            is_open = [not states[trial_id].is_finished() for trial_id in ids]
            ended = [ending for ending, open_ in zip(endings, is_open, strict=True) if open_]
            for trial_id, state, _, attributes in ended:
                new = {"state": state, "datetime_complete": now}
                connection.execute(update(_TRIALS).where(c.trial_id == trial_id).values(new))
                old = (_USER.c.trial_id == trial_id) & _USER.c.key.in_(list(attributes))
                connection.execute(delete(_USER).where(old))
            users = [row for e in ended for row in _attributes(e.trial_id, e.user_attrs)]
            _insert(connection, _USER, users)
            values = [row for e in ended for row in _values(e.trial_id, e.values)]
            _insert(connection, _VALUES, values)
        return is_open

    def _states(self, connection: Connection, trial_ids: Sequence[int]) -> dict[int, TrialState]:
        """Return the states of trials, which stay as they are until the transaction ends."""
        c = _TRIALS.c
        query = select(c.trial_id, c.state).where(c.trial_id.in_(trial_ids)).with_for_update()
        # In order, so that two workers never wait for each other.
        return {i: state for i, state in connection.execute(query.order_by(c.trial_id))}

    # The two that Optuna's cache calls.

    def _create_new_trial(
        self, study_id: int, template_trial: FrozenTrial | None = None
    ) -> FrozenTrial:
        [trial] = self.add_trials(study_id, [template_trial or create_trial(state=_RUNNING)])
        return trial

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: Collection[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        """Return the trials of these ids, and all that are newer, in order of their ids."""
        c = _TRIALS.c
        query = select(c.trial_id, c.number, c.state, c.datetime_start, c.datetime_complete)
        # Two statements, because a database may answer an OR by looking at all trials.
        wanted = [c.trial_id > trial_id_greater_than]
        if included := [i for i in included_trial_ids if i <= trial_id_greater_than]:
            wanted.insert(0, c.trial_id.in_(included))
        with self.engine.begin() as connection:
            rows = [
                row
                for which in wanted
                for row in connection.execute(
                    query.where(c.study_id == study_id, which).order_by(c.trial_id)
                )
                if states is None or row[2] in states
            ]
            parts = (rows[start : start + _AT_ONCE] for start in range(0, len(rows), _AT_ONCE))
            return [trial for part in parts for trial in _trials(connection, part)]


_RUNNING = TrialState.RUNNING


def _insert(connection: Connection, table: Any, rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.execute(insert(table), rows)


def _params(trial: FrozenTrial) -> Iterator[dict[str, Any]]:
    for name, value in trial.params.items():
        kind = trial.distributions[name]
        row = {"trial_id": trial._trial_id, "param_name": name}
        row["param_value"] = kind.to_internal_repr(value)
        yield row | {"distribution_json": _json_of(kind)}


def _attributes(trial_id: int, attributes: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for key, value in attributes.items():
        yield {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}


def _values(trial_id: int, values: Sequence[float] | None) -> Iterator[dict[str, Any]]:
    for objective, value in enumerate(values or ()):
        number, kind = models.TrialValueModel.value_to_stored_repr(float(value))
        row = {"trial_id": trial_id, "objective": objective}
        yield row | {"value": number, "value_type": kind}


@cache
def _select(table: Any, *names: str) -> Any:
    """Return the query of these columns for the trials ``ids``; to build one takes a while."""
    columns = [table.c[name] for name in names]
    ids: Any = bindparam("ids", expanding=True)
    query = select(table.c.trial_id, *columns).where(table.c.trial_id.in_(ids))
    return query.order_by(next(iter(table.primary_key)))


def _trials(connection: Connection, rows: Sequence[Any]) -> Iterator[FrozenTrial]:
    """Build trials from their rows and from what other tables have of them."""
    ids = [row[0] for row in rows]

    def read(table: Any, *names: str) -> dict[int, list[Any]]:
        of_trial = defaultdict(list)
        for trial_id, *entries in connection.execute(_select(table, *names), {"ids": ids}):
            of_trial[trial_id].append(entries)
        return of_trial

    params = read(_PARAMS, "param_name", "param_value", "distribution_json")
    values = read(_VALUES, "objective", "value", "value_type")
    users, systems = (read(table, "key", "value_json") for table in (_USER, _SYSTEM))
    steps = read(_STEPS, "step", "intermediate_value", "intermediate_value_type")
    for trial_id, number, state, start, complete in rows:
        kinds = {name: _kind_of(text) for name, _, text in params[trial_id]}
        numbers = [
            models.TrialValueModel.stored_repr_to_value(*v[1:])
            for v in sorted(values[trial_id], key=lambda v: v[0])
        ]
        yield FrozenTrial(
            number=number,
            state=state,
            value=None,
            values=numbers or None,
            datetime_start=_local(start),
            datetime_complete=_local(complete),
            params={n: kinds[n].to_external_repr(value) for n, value, _ in params[trial_id]},
            distributions=kinds,
            user_attrs={key: json.loads(text) for key, text in users[trial_id]},
            system_attrs={key: json.loads(text) for key, text in systems[trial_id]},
            intermediate_values={
                step: models.TrialIntermediateValueModel.stored_repr_to_intermediate_value(*value)
                for step, *value in steps[trial_id]
            },
            trial_id=trial_id,
        )


def _utc(time: datetime | None) -> datetime | None:
    return time and time.astimezone(timezone.utc).replace(tzinfo=None)


def _local(time: datetime | None) -> datetime | None:
    return time and time.replace(tzinfo=timezone.utc).astimezone().replace(tzinfo=None)


@lru_cache(maxsize=1_000)
def _kind_of(text: str) -> BaseDistribution:
    return json_to_distribution(text)


@lru_cache(maxsize=1_000)
def _json_of(kind: BaseDistribution) -> str:
    return distribution_to_json(kind)
