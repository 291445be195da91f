"""Find files of the same content, and read as little of them as possible."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from crnas_d2.common.digests import file_state, recall, remember
from crnas_d2.common.progress import progress_bar

_TAIL = 4096  # bytes at the end of a file, in which compressed images of one size differ
_CHUNK = 256  # files that a thread reads in one go
_FEW = 50_000  # files that are read without a progress bar

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


def _tails(files: Sequence[str]) -> dict[str, str]:
    def digest(file: str) -> str:
        with open(file, "rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - _TAIL))
            return hashlib.sha1(stream.read()).hexdigest()

    return _remembered("tail", digest, files, "Comparing images")


def _contents(files: Sequence[str]) -> dict[str, str]:
    def digest(file: str) -> str:
        with open(file, "rb") as stream:
            return hashlib.sha1(stream.read()).hexdigest()

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
    part: str, read: Callable[[str], str], files: Sequence[str], title: str
) -> dict[str, str]:
    """Return a digest per file: the remembered one, unless the file has changed since.

    Args:
        part: of the file that is read, which names its digest in the cache.
    """
    subjects = {file: f"{part} {os.path.abspath(file)}" for file in files}
    states = {subjects[file]: file_state(file) for file in files}
    known = recall(states)
    new = _read_all(
        *(read, [file for file in files if subjects[file] not in known], title),
        # As they come, so that an interrupted comparison goes on where it stopped.
        keep=lambda found: remember(states, {subjects[f]: digest for f, digest in found.items()}),
    )
    return {file: known.get(subject, new.get(file)) for file, subject in subjects.items()}
