"""The file of a study: SQLite's on one machine, a journal in a folder that several share."""

import errno
import json
import os
import sqlite3
import weakref
from contextlib import closing, suppress
from pathlib import Path
from typing import IO, Any

import sqlalchemy
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

# File systems that belong to one machine.
_LOCAL = {"btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs"}
_WAL = b"\2\2"  # at byte 18 of an SQLite file: its write and read version
_MOUNTS = Path("/proc/self/mountinfo")
_RECORD = b'{"op_code":'  # the start of each record of a journal


def check_sqlite(file: str) -> None:
    """Raise ValueError for a file that is no study, so that no table is added to it."""
    advice = "Move it away, or choose another OUTPUT_DIR (or SEARCH.STORAGE)."
    if os.path.isdir(file):
        raise ValueError(f"{file} is a folder, not the file of a study. {advice}")
    if not os.path.exists(file) or os.path.getsize(file) == 0:
        return
    try:
        if not is_on_local_disk(file):
            _leave_wal(file)
        with closing(sqlite3.connect(file, timeout=60)) as connection:
            check = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            query = "SELECT name FROM sqlite_master WHERE type = 'table'"
            tables = {name for (name,) in connection.execute(query)}
    except sqlite3.OperationalError as error:
        raise sqlalchemy.exc.OperationalError("open", None, error) from error
    except sqlite3.DatabaseError as error:
        raise ValueError(f"{file} is no study that can be read: {error}. {advice}") from error
    if check != "ok":
        raise ValueError(f"{file} is a damaged study: {check.splitlines()[0]}. {advice}")
    if tables and not tables & {"studies", "version_info", "study_directions"}:
        raise ValueError(f"{file} is a database of something else. {advice}")


def prepare_sqlite(storage: RDBStorage, file: str, *, for_workers: bool) -> None:
    """Let workers share a file at little cost; if not ``for_workers``, it stays as it is.

    Each transaction locks the whole file at its start. Otherwise two workers could both read that a
    trial is waiting before either takes it: SQLite ignores the row locks that Optuna asks for.

    A candidate takes some transactions that write, each of which waits for the disk twice. On a
    local disk, whose machine has shared memory, they are appended to ``search.db-wal`` instead,
    synced once in a while: a killed worker loses nothing, a power cut only the last candidates.
    """
    engine, uses_wal = storage.engine, for_workers and is_on_local_disk(file)

    @sqlalchemy.event.listens_for(engine, "connect")
    def on_connect(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # transactions are left to us
        if uses_wal and os.path.exists(file) and os.path.getsize(file):
            with suppress(sqlite3.OperationalError):  # locked just now; without, it is only slower
                if connection.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",):
                    connection.execute("PRAGMA synchronous = NORMAL")

    @sqlalchemy.event.listens_for(engine, "begin")
    def begin(connection: sqlalchemy.Connection) -> None:
        # A deleted file goes on to exist for those who have it open.
        if not os.path.exists(file):
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", file)
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    def close() -> None:
        engine.dispose()
        with suppress(sqlite3.Error, OSError):  # another worker still has it open
            _leave_wal(file)

    engine.dispose()  # earlier connections lack the two listeners
    if uses_wal:
        weakref.finalize(storage, close)


def is_on_local_disk(file: str) -> bool:
    """Whether a file is on a disk of this machine; ``False`` if that is unknown."""
    try:
        lines = _MOUNTS.read_text().splitlines()
    except OSError:  # not Linux
        return False
    path, found = os.path.realpath(file), ("", "")
    for line in lines:
        mount, _, system = line.partition(" - ")
        point = mount.split()[4].encode().decode("unicode_escape")  # a space is \\040
        # A later mount hides an earlier one at the same point.
        if os.path.commonpath([path, point]) == point and len(point) >= len(found[0]):
            found = point, system.split()[0]
    return found[1] in _LOCAL


def _leave_wal(file: str) -> None:
    """Move what is in ``search.db-wal`` into the file; OperationalError if another has it open."""
    with open(file, "rb") as header:
        header.seek(18)
        if header.read(2) != _WAL:
            return
    with closing(sqlite3.connect(file, timeout=0)) as connection:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")  # needs no shared memory
        connection.execute("PRAGMA journal_mode = DELETE").fetchone()


def open_journal(path: str) -> JournalStorage:
    """Open a journal file of Optuna, or create it; raise ValueError if it is something else."""
    path, advice = os.path.abspath(path), "Restore it, or name another file."
    with open(path, "a+b") as file:  # fails now if it cannot be written
        file.seek(0)
        start = file.read(len(_RECORD))
    if start != _RECORD[: len(start)]:
        raise ValueError(f"SEARCH.STORAGE is {path}, which is no journal of Optuna. {advice}")
    try:
        return JournalStorage(_JournalFile(path))
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"SEARCH.STORAGE is {path}, a damaged journal of Optuna ({error!r}). {advice}"
        ) from error


class _JournalFile(JournalFileBackend):
    """Drops what a full disk or a kill has left of a record, which would spoil the next line."""

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
        file.seek(start := max(0, end - 4096))
        if newline := file.read(end - start).rfind(b"\n") + 1:
            return start + newline
        end = start
    return 0
