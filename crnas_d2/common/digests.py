"""Digests of files, and results that are remembered on disk until their files change."""

import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any


def sha256(*files: str | os.PathLike[str]) -> str:
    """Return the digest of the concatenated contents of files, in hexadecimal."""
    digest = hashlib.sha256()
    for file in files:
        with open(file, "rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def text_digest(text: str, length: int = 16) -> str:
    """Return the first hexadecimal digits of the sha256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def remembered_sha256(file: str | os.PathLike[str]) -> str:
    """Return the sha256 of a file, which is read once until its size or its time changes."""
    path = os.path.abspath(file)
    return str(remembered(f"sha256 {path}", file_state(path), lambda: sha256(path)))


def file_state(file: str | os.PathLike[str]) -> str:
    """Return what changes if a file is written: its size and its time of modification."""
    status = os.stat(file)
    return f"{status.st_size} {status.st_mtime_ns}"


def remembered(subject: str, state: str, find: Callable[[], Any]) -> Any:
    """Return what was found about a subject in its present state; find it if it is not known.

    The subject says what is found, and about which file. ``find`` returns plain JSON data, which
    depends on the state alone.
    """
    known = recall({subject: state})
    if subject not in known:
        known[subject] = find()
        remember({subject: state}, known)
    return known[subject]


def recall(states: Mapping[str, str]) -> dict[str, Any]:
    """Return the values that are remembered for subjects in these states, by subject."""
    found = {}
    query = "SELECT value FROM results WHERE subject=? AND state=?"
    with suppress(sqlite3.Error, OSError, ValueError), closing(_cache()) as cache:
        for key in states.items():
            for (value,) in cache.execute(query, key):
                found[key[0]] = json.loads(value)
    return found


def remember(states: Mapping[str, str], values: Mapping[str, Any]) -> None:
    """Keep values by subject, each with its state; a value of another state is forgotten."""
    rows = [(subject, states[subject], json.dumps(value)) for subject, value in values.items()]
    # A cache that cannot be written only costs time.
    with suppress(sqlite3.Error, OSError), closing(_cache()) as cache, cache:
        cache.executemany("INSERT OR REPLACE INTO results VALUES (?, ?, ?)", rows)


def user_cache() -> str:
    """Return the folder of this project in the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(cache, "crnas_d2")


def _cache() -> sqlite3.Connection:
    file = Path(user_cache(), "results.sqlite")
    file.parent.mkdir(parents=True, exist_ok=True)
    cache = sqlite3.connect(file, timeout=10)  # seconds, for another process that writes
    columns = "subject TEXT PRIMARY KEY, state TEXT, value TEXT"
    cache.execute(f"CREATE TABLE IF NOT EXISTS results ({columns})")
    return cache
