"""Optuna's journal file, for a study on a folder that several machines share."""

import json
import os
from typing import IO, Any

import optuna
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

_START = b'{"op_code":'  # of each record
_ADVICE = "Restore it, or name another file."


def open_journal(path: str) -> optuna.storages.JournalStorage:
    """Open a journal file, or create it.

    Raises:
        OSError: it cannot be read or written.
        ValueError: it is something else, or damaged.
    """
    path = os.path.abspath(path)
    with open(path, "a+b") as file:  # fails now if it cannot be written
        file.seek(0)
        start = file.read(len(_START))
    if start != _START[: len(start)]:
        raise ValueError(f"SEARCH.STORAGE is {path}, which is no journal of Optuna. {_ADVICE}")
    try:
        return optuna.storages.JournalStorage(_JournalFile(path))
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"SEARCH.STORAGE is {path}, a damaged journal of Optuna ({error!r}). {_ADVICE}"
        ) from error


class _JournalFile(JournalFileBackend):
    """Drops what a full disk or a kill has left of a record, before it writes the next one.

    Otherwise both would share a line, and the journal could not be read any more.
    """

    def __init__(self, path: str):
        self.lock = JournalFileSymlinkLock(path)
        super().__init__(path, lock_obj=self.lock)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        self.lock.acquire()
        try:
            # Not "a", which would create a deleted journal anew, without its first records.
            with open(self._file_path, "r+b") as file:
                file.seek(_end_of_records(file))
                file.truncate()
                file.write(lines.encode())
                file.flush()
                os.fsync(file.fileno())
        finally:
            self.lock.release()


def _end_of_records(file: IO[bytes]) -> int:
    """Return the position after the last line that is complete, in bytes."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - 4096)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
