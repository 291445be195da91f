"""The Optuna study, which is the only state of a search."""

import json
import os
import warnings
from collections.abc import Mapping, Sequence

import optuna
import sqlalchemy

__all__ = ["open_study", "study_url"]

_HEARTBEAT = 30  # seconds; a worker that is silent for twice as long counts as dead


def study_url(cfg) -> str:
    """Return the URL of the study: ``SEARCH.STORAGE``, else a file in ``OUTPUT_DIR``."""
    return cfg.SEARCH.STORAGE or f"sqlite:///{os.path.abspath(cfg.OUTPUT_DIR)}/search.db"


def open_study(
    url: str,
    name: str,
    description: Mapping[str, object],
    *,
    resume: bool,
    directions: Sequence[str] = ("maximize",),
) -> optuna.Study:
    """Open a study, or create it if there is none.

    Args:
        url: SQLAlchemy URL of the storage, e.g. ``sqlite:///output/search.db``.
        description: what identifies the search; plain JSON data.
        resume: continue an existing study.
        directions: ``maximize`` for the fitness, then that of a second objective.

    Raises:
        ValueError: the study exists and ``resume`` is false, or it belongs to another search.
    """
    storage = _open_storage(url)
    description = json.loads(json.dumps(description))
    if name not in optuna.get_all_study_names(storage):
        study = optuna.create_study(storage=storage, study_name=name, directions=directions)
        study.set_user_attr("description", description)
        return study
    if not resume:
        raise ValueError(
            f"The study '{name}' in {url} exists already: continue it with --resume, or choose "
            "another OUTPUT_DIR (or SEARCH.STUDY_NAME)."
        )
    study = optuna.load_study(storage=storage, study_name=name)
    # Missing if the creator died between its two writes, before it enqueued anything.
    known = study.user_attrs.get("description")
    if known is None:
        study.set_user_attr("description", description)
        return study
    different = [
        f"{key} was {_shown(known, key)} and is {_shown(description, key)}"
        for key in sorted(set(known) | set(description))
        if known.get(key) != description.get(key)
    ]
    if different:
        raise ValueError(
            f"The study '{name}' in {url} is another search: {'; '.join(different)}. Its scores "
            "cannot be compared with new ones. Continue it with its original settings and files, "
            "or choose another OUTPUT_DIR (or SEARCH.STUDY_NAME)."
        )
    return study


def _shown(description: Mapping[str, object], key: str) -> str:
    return repr(description[key]) if key in description else "at its default"


def _open_storage(url: str) -> optuna.storages.RDBStorage:
    sqlite = url.startswith("sqlite")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        storage = optuna.storages.RDBStorage(
            url,
            engine_kwargs={"connect_args": {"timeout": 60}} if sqlite else None,
            heartbeat_interval=_HEARTBEAT,
            heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(
                max_retry=3
            ),
        )
    if sqlite:
        _serialize_transactions(storage.engine)
    return storage


def _serialize_transactions(engine: sqlalchemy.Engine) -> None:
    """Let each transaction lock the whole SQLite file at its start.

    Otherwise two workers could both read that a trial is waiting before either takes it, because
    SQLite ignores the row locks that Optuna asks for. The lock is cheap: a search makes a few
    transactions per candidate.
    """

    @sqlalchemy.event.listens_for(engine, "connect")
    def leave_transactions_to_us(connection, _record):
        connection.isolation_level = None

    @sqlalchemy.event.listens_for(engine, "begin")
    def begin(connection):
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    engine.dispose()  # earlier connections lack the two listeners
