"""Find files of the same content, and read as little of them as possible."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from crnas_d2.common.digests import file_state, recall, remember
from crnas_d2.common.progress import progress_bar

_TAIL = 4096  # bytes at the end of a file, in which compressed images of one size differ
_CHUNK = 256  # files that a thread reads in one go
_FEW = 50_000  # files that are read without a progress bar

Key = tuple[Any, ...]


def find_twins(files: Sequence[str], others: Sequence[str]) -> dict[str, str]:
    """Return the files whose content is also in others, each with such a file, in order.

    Digests are kept in the user's cache by path, size and modification time.

    Raises:
        ValueError: a file cannot be read.
    """
    places = {os.path.abspath(other): other for other in others}
    twins = {file: places.get(os.path.abspath(file)) for file in files}
    rest = [file for file, twin in twins.items() if twin is None]

    def on_both_sides(keys: dict[str, Key]) -> set[Key]:
        ours, theirs = ({keys[f] for f in side if f in keys} for side in (rest, others))
        return ours & theirs

    keys = _equal([*rest, *others] if rest else [], on_both_sides)
    by_key = {keys[other]: other for other in others if other in keys}
    twins |= {file: by_key[keys[file]] for file in rest if file in keys}
    return {file: twin for file, twin in twins.items() if twin is not None}


def find_repeated(files: Sequence[str]) -> set[str]:
    """Return the files whose content another one of them has, too; see :func:`find_twins`."""

    def more_than_once(keys: dict[str, Key]) -> set[Key]:
        return {key for key, count in Counter(keys.values()).items() if count > 1}

    return set(_equal(files, more_than_once))


def _equal(
    files: Sequence[str], wanted: Callable[[dict[str, Key]], Collection[Key]]
) -> dict[str, Key]:
    """Return a key of the content by file, for the files with a wanted key.

    Equal content implies equal sizes and equal tails, so each step reads only what the step before
    has left.
    """
    keys: dict[str, Key] = dict.fromkeys(files, ())
    try:
        for part, title in (
            ("size", "Sizes of images"),
            ("tail", "Comparing images"),
            ("all", "Comparing images that may be equal"),
        ):
            found = _read_all(part, list(keys), title)
            keys = {file: (*key, found[file]) for file, key in keys.items()}
            common = wanted(keys)
            keys = {file: key for file, key in keys.items() if key in common}
    except OSError as error:
        raise ValueError(f"{error.filename} cannot be read: {error.strerror}.") from error
    return keys


def _read(part: str, file: str) -> int | str:
    size = os.path.getsize(file)
    if part == "size":
        return size
    with open(file, "rb") as stream:
        stream.seek(max(0, size - _TAIL) if part == "tail" else 0)
        return hashlib.sha1(stream.read()).hexdigest()


def _read_all(part: str, files: Sequence[str], title: str) -> dict[str, int | str]:
    """Return the size or a digest per file: the remembered one, unless the file has changed since.

    Args:
        part: ``size``, ``tail`` or ``all`` of the file.
    """
    is_kept = part != "size"
    subjects = {file: f"{part} {os.path.abspath(file)}" for file in files}
    states = {subjects[file]: file_state(file) for file in files} if is_kept else {}
    known = recall(states)
    found = {file: known[subject] for file, subject in subjects.items() if subject in known}
    missing = [file for file in files if file not in found]
    chunks = [missing[start : start + _CHUNK] for start in range(0, len(missing), _CHUNK)]
    bar = progress_bar(total=len(missing), desc=title, unit="img", disable=len(missing) < _FEW)
    with ThreadPoolExecutor(os.cpu_count()) as pool, bar:
        for new in pool.map(lambda chunk: {file: _read(part, file) for file in chunk}, chunks):
            if is_kept:  # as they come, so that an interrupted comparison goes on where it stopped
                remember(states, {subjects[file]: digest for file, digest in new.items()})
            found |= new
            bar.update(len(new))
    return found
