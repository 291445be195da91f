"""Where a study is stored: a database or a journal file, and what to do while it is away."""

import errno
import json
import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage
from sqlalchemy import exc, make_url

from .database import Database
from .storage_files import check_sqlite, open_journal, prepare_sqlite
from .storage_url import GRPC, StorageError, check_url, file_of, shown
from .study_proxy import open_proxy

logger = logging.getLogger(__name__)

_RETRY = 3.0  # seconds between two attempts to reach a storage that is away
_MOST_RACES = 10  # attempts to create the tables while other processes create them, too
# A shared folder that is away for a while; other errors, such as a full disk, stay.
_AWAY = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN}
# Of a database server: missing tables, wrong statements, wrong URLs.
_PERMANENT = (exc.ProgrammingError, exc.DataError, exc.IntegrityError, exc.ArgumentError)
# The last one because a journal is read on in each operation.
_STORAGE_ERRORS = (exc.SQLAlchemyError, StorageInternalError, OSError, json.JSONDecodeError)
_ADVICE = (  # by words of the cause
    (("is full", "No space", "quota"), "Make space"),
    (("readonly", "read-only", "Read-only", "ermission denied"), "Make it writable"),
    (("unable to open", "No such file", "Not a directory"), "Bring its folder back"),
    (("locked",), "End the process that locks it"),
    (("not a database", "malformed"), "Restore the file, or move it away to begin anew"),
)


def open_storage(url: str, *, patience: float = 0, for_workers: bool = False) -> "PatientStorage":
    """Open the storage of a study, and create its file or its tables if they are missing.

    Args:
        patience: seconds for which to wait for a storage that is away, here and later.
        for_workers: whether candidates will be written; an SQLite file is prepared for that.

    Raises:
        ValueError: the URL is malformed, names something else, or its driver is missing.
    """
    check_url(url)
    backend: Callable[[], BaseStorage]
    if url.startswith(GRPC):
        backend = partial(open_proxy, url)
    elif "://" in url:
        backend = partial(_open_database, url, for_workers)
    else:
        backend = partial(open_journal, url)
    return PatientStorage(backend, shown(url), patience)


class PatientStorage:
    """An Optuna storage whose operations outlast a restart of the database, and its outages.

    An operation that fails because the storage is away is repeated for ``patience`` seconds. That
    is harmless: what the first attempt may have written is found and accepted, or it is a trial
    without worker, which the search cleans up. Messages name its ``place``, without passwords.
    """

    def __init__(self, open_backend: Callable[[], BaseStorage], place: str, patience: float):
        self.place, self.patience = place, patience
        self.available_since = time.monotonic()  # the end of the last outage
        self._away_since: float | None = None
        self._lock = threading.Lock()
        self._backend = self._patiently(open_backend)

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._backend, name)
        return partial(self._patiently, attribute) if callable(attribute) else attribute

    def perform(self, operation: Callable[[BaseStorage], Any]) -> Any:
        """Perform several operations on the storage, all again if it was away in between."""
        return self._patiently(operation, self._backend)

    def _patiently(self, operation: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        deadline = None
        while True:
            try:
                result = operation(*args, **kwargs)
            except UpdateFinishedTrialError:
                # The first attempt may have been written although its answer was lost.
                name = getattr(operation, "__name__", "")
                if deadline is None or name != "set_trial_state_values":
                    raise
                state = kwargs.get("state", args[1] if len(args) > 1 else None)
                if self.get_trial(args[0]).state != state:
                    raise
                return True
            except _STORAGE_ERRORS as error:
                origin: BaseException = error
                if isinstance(error, StorageInternalError):
                    origin = error.__cause__ or error
                study, cause = f"The study in {self.place}", _first_line(origin)
                if not _is_away(origin):
                    kinds = (advice for words, advice in _ADVICE if any(w in cause for w in words))
                    raise StorageError(
                        f"{study} cannot be read or written: {cause}. {next(kinds, 'Solve it')}, "
                        "then continue with --resume."
                    ) from error
                deadline = deadline or time.monotonic() + self.patience
                if time.monotonic() >= deadline:
                    waited = f" for {self.patience:.0f} s" if self.patience else ""
                    raise StorageError(
                        f"{study} could not be reached{waited}: {cause}. Check SEARCH.STORAGE and "
                        "its server; nothing is lost, continue with --resume."
                    ) from error
                self._note(outage=cause)
                time.sleep(min(_RETRY, self.patience))
            else:
                if deadline is not None:
                    self._note()
                return result

    def _note(self, outage: str = "") -> None:
        """Log that an outage has begun, or that there is none any more."""
        with self._lock:
            now, since = time.monotonic(), self._away_since
            if outage and since is None:
                away = f"is away ({outage}); waiting for it, at most {self.patience:.0f} s."
                logger.warning("The study in %s %s", self.place, away)
                self._away_since = now
            elif not outage:
                self.available_since, self._away_since = now, None
                if since is not None:
                    logger.warning("The study in %s is back after %.0f s.", self.place, now - since)


def _is_away(error: BaseException) -> bool:
    """Whether an operation may succeed when the storage is back."""
    if isinstance(error, OSError) or isinstance(getattr(error, "orig", None), sqlite3.Error):
        return getattr(error, "errno", None) in _AWAY
    # A lost connection has many names, e.g. that of a query which Optuna repeats within the
    # transaction that was lost with it.
    return isinstance(error, exc.SQLAlchemyError) and not isinstance(error, _PERMANENT)


def _first_line(error: BaseException) -> str:
    """Return the first line of what the database or the system says."""
    if isinstance(error, exc.PendingRollbackError) and error.__context__ is not None:
        error = error.__context__  # how the transaction was lost
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = str(getattr(error, "orig", None) or error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__


def _open_database(url: str, for_workers: bool) -> BaseStorage:
    if (file := file_of(url)) is not None:
        check_sqlite(file)
    parsed, arguments = make_url(url), {}
    if parsed.get_backend_name() == "sqlite":
        arguments = {"timeout": 60}  # seconds that a transaction waits for others
    elif parsed.get_backend_name() == "postgresql" and "psycopg" in parsed.get_driver_name():
        # They let it notice a lost connection; the URL wins.
        usual = {"connect_timeout": 10, "keepalives_idle": 30, "keepalives_interval": 10}
        arguments = {key: value for key, value in usual.items() if key not in parsed.query}
    template = url.replace("{", "{{").replace("}", "}}")  # Optuna formats it
    engine = {"pool_pre_ping": True, "connect_args": arguments}
    for attempt in count(1):
        try:
            storage = Database(template, engine_kwargs=engine)
            break
        except (exc.DBAPIError, AssertionError) as error:
            # Another process may be creating the same tables just now.
            is_race = isinstance(error, (exc.IntegrityError, AssertionError))
            if attempt == _MOST_RACES or not (is_race or "already exists" in str(error)):
                raise
            time.sleep(0.2 * attempt)
        except (ImportError, exc.NoSuchModuleError) as error:
            raise ValueError(
                f"SEARCH.STORAGE is {shown(url)}, whose driver is not installed. For PostgreSQL: "
                "pip install 'crnas-d2[postgres]', and write postgresql+psycopg://..."
            ) from error
        except (TypeError, RuntimeError) as error:  # e.g. tables of another version of Optuna
            raise ValueError(f"The study in {shown(url)} cannot be used: {error}") from error
    if file is not None:
        prepare_sqlite(storage, file, for_workers=for_workers)
    return optuna.storages.get_storage(storage)
