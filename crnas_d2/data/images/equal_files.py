"""Find files of the same content, and read as little of them as possible."""

import hashlib
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

from crnas_d2.common.progress_bar import progress_bar
from crnas_d2.data.embedded.generated import user_cache

_TAIL = 4096  # bytes at the end of a file, in which compressed images of one size differ
_CHUNK = 256  # files that a thread reads in one go
_FEW = 50_000  # files that are read without a progress bar
_PATIENCE = 10.0  # seconds to wait for another process that writes the cache
_TABLE = (
    "CREATE TABLE IF NOT EXISTS digests (path TEXT, part TEXT, size INTEGER, modified INTEGER, "
    "digest BLOB, PRIMARY KEY (path, part))"
)

Keys = dict[str, tuple]


def find_twins(files: Sequence[str], others: Sequence[str]) -> dict[str, str]:
    """Return the files whose content is also in others, each with such a file, in order.

    Digests are kept in the user's cache by path, size and modification time.

    Raises:
        ValueError: a file cannot be read.
    """
    places = {os.path.abspath(other): other for other in others}
    twins = {file: places.get(os.path.abspath(file)) for file in files}
    rest = [file for file, twin in twins.items() if twin is None]

    def on_both_sides(keys: Keys) -> set[tuple]:
        ours, theirs = ({keys[f] for f in side if f in keys} for side in (rest, others))
        return ours & theirs

    keys = _equal([*rest, *others] if rest else [], on_both_sides)
    by_key = {keys[other]: other for other in others if other in keys}
    twins |= {file: by_key[keys[file]] for file in rest if file in keys}
    return {file: twin for file, twin in twins.items() if twin is not None}


def find_repeated(files: Sequence[str]) -> set[str]:
    """Return the files whose content another one of them has, too; see :func:`find_twins`."""

    def more_than_once(keys: Keys) -> set[tuple]:
        return {key for key, count in Counter(keys.values()).items() if count > 1}

    return set(_equal(files, more_than_once))


def _equal(files: Sequence[str], wanted: Callable[[Keys], Collection[tuple]]) -> Keys:
    """Return a key of the content by file, for the files with a wanted key.

    Equal content implies equal sizes and equal tails, so each step reads only what the step before
    has left.
    """
    keys: Keys = dict.fromkeys(files, ())
    try:
        for read in (_sizes, _tails, _contents):
            found = read(list(keys))
            keys = {file: (*key, found[file]) for file, key in keys.items()}
            common = wanted(keys)
            keys = {file: key for file, key in keys.items() if key in common}
    except OSError as error:
        raise ValueError(f"{error.filename} cannot be read: {error.strerror}.") from error
    return keys


def _sizes(files: Sequence[str]) -> dict[str, int]:
    return _read_all(os.path.getsize, files, "Sizes of images")


def _tails(files: Sequence[str]) -> dict[str, bytes]:
    def digest(file: str) -> bytes:
        with open(file, "rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - _TAIL))
            return hashlib.sha1(stream.read()).digest()

    return _remembered("tail", digest, files, "Comparing images")


def _contents(files: Sequence[str]) -> dict[str, bytes]:
    def digest(file: str) -> bytes:
        with open(file, "rb") as stream:
            return hashlib.sha1(stream.read()).digest()

    return _remembered("all", digest, files, "Comparing images that may be equal")


def _read_all(
    read: Callable[[str], object],
    files: Sequence[str],
    title: str,
    keep: Callable[[Mapping], None] = lambda _: None,
) -> dict:
    """Return what is read of each file; ``keep`` gets the results of each chunk as they come."""
    chunks = [files[start : start + _CHUNK] for start in range(0, len(files), _CHUNK)]
    bar = progress_bar(total=len(files), desc=title, unit="img", disable=len(files) < _FEW)
    found: dict[str, object] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool, bar:
        results = pool.map(lambda chunk: {file: read(file) for file in chunk}, chunks)
        for new in results:
            keep(new)
            found |= new
            bar.update(len(new))
    return found


def _remembered(
    part: str, read: Callable[[str], bytes], files: Sequence[str], title: str
) -> dict[str, bytes]:
    """Return a digest per file: that of the user's cache, unless the file has changed since.

    Args:
        part: of the file that is read, which names its digest in the cache.
    """
    stats = {file: os.stat(file) for file in files}
    keys = {f: (os.path.abspath(f), part, s.st_size, s.st_mtime_ns) for f, s in stats.items()}
    known = _load(keys)
    missing = [file for file in files if file not in known]
    new = _read_all(
        *(read, missing, title),
        # As they come, so that an interrupted comparison goes on where it stopped.
        keep=lambda digests: _save([(*keys[file], digest) for file, digest in digests.items()]),
    )
    return known | new


def _load(keys: Mapping[str, tuple]) -> dict[str, bytes]:
    found = {}
    with suppress(sqlite3.Error, OSError), closing(_cache()) as cache:
        for file, key in keys.items():
            row = cache.execute(
                "SELECT digest FROM digests WHERE path=? AND part=? AND size=? AND modified=?", key
            ).fetchone()
            if row:
                found[file] = row[0]
    return found


def _save(rows: Sequence[tuple]) -> None:
    # A cache that cannot be written only costs time.
    with suppress(sqlite3.Error, OSError), closing(_cache()) as cache, cache:
        cache.executemany("INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?, ?)", rows)


def _cache() -> sqlite3.Connection:
    file = Path(user_cache(), "checked", "digests.sqlite")
    file.parent.mkdir(parents=True, exist_ok=True)
    cache = sqlite3.connect(file, timeout=_PATIENCE)
    cache.execute(_TABLE)
    return cache
