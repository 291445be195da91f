"""Decoded images, kept once per machine in a memory-mapped file that all workers of a search open.

The first worker writes the file, the others wait for it. A lock, which the kernel releases when its
process ends, tells whether a file is being written or in use; the last process that used one
removes it, and what killed processes have left behind.
"""

import fcntl
import logging
import math
import mmap
import os
import stat
import tempfile
import weakref
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import torch

from .image_records import append_record, read_records, whole_records

logger = logging.getLogger(__name__)

_GIB = 2**30
_MARGIN = _GIB  # stays free on a disk
_JUDGED = 64  # images from which the size of all is estimated
_WHOLE, _PARTIAL = ".images", ".partial"

Input = dict[str, Any]  # of a model, with an ``image`` of shape (C, H, W)


class NoRoomError(Exception):
    """The images cannot be kept; the message says why."""


class SharedImages(Sequence[Input]):
    """The inputs of a model from a file of :func:`shared_images`; their images are mapped from it.

    The memory of an image is that of the file, once for all processes, until someone changes it:
    then this process has a copy of that part.
    """

    def __init__(self, path: Path, lock: int):
        weakref.finalize(self, _release, os.getpid(), lock, path.parent)
        self._records = read_records(path)
        self._bytes = mmap.mmap(lock, 0, access=mmap.ACCESS_COPY)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Input:  # type: ignore[override] # no slices
        record = self._records[index]
        # Not a view of one tensor of the whole file, with which a copy of an image copies all.
        image = torch.frombuffer(
            self._bytes,
            dtype=record.dtype,
            count=math.prod(record.shape),
            offset=record.start,
        )
        return {**record.entry, "image": image.view(record.shape)}


def shared_images(
    name: str, count: int, inputs_from: Callable[[int], Iterable[Input]], *, limit: float
) -> SharedImages:
    """Open the file of a set of images, after it has been written here or by another process.

    A file that a killed process has begun is continued.

    Args:
        name: of the set; the same for the same content alone.
        count: number of images.
        inputs_from: returns the inputs of a model from the n-th on.
        limit: of the images, in bytes.

    Raises:
        NoRoomError: the images are larger than the limit, the memory, or the space that is free.
    """
    reasons = []
    # The first one with enough space, unless another process has already found that.
    for folder in sorted(image_folders(), key=lambda folder: not any(folder.glob(f"{name}.*"))):
        try:
            # Nobody else can write here, because what is read from it could run code.
            folder.mkdir(mode=0o700, exist_ok=True)
            found = folder.lstat()
            is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
            if not is_ours or found.st_mode & 0o022:
                raise NoRoomError(f"others may write to {folder}: remove it")
            write = partial(_write, folder, count, inputs_from, limit)
            return _open(folder / f"{name}{_WHOLE}", write)
        except NoRoomError as error:
            reasons.append(str(error))
        except OSError as error:  # also a full disk, or a file system without locks
            reasons.append(f"{folder} cannot be used ({error.strerror or error})")
    raise NoRoomError("; ".join(dict.fromkeys(reasons)))


def image_folders() -> list[Path]:
    """Return the folders for images, in the order in which they are tried.

    A disk comes before ``/dev/shm``, because the kernel drops what it has read from a disk where
    the memory is needed.
    """
    name = f"crnas_d2-images-{os.getuid()}"
    places = [Path(tempfile.gettempdir()), Path("/dev/shm")]
    return [place / name for place in places if place.is_dir()]


def remove_unused(folder: Path) -> None:
    """Remove the files that no process uses or writes."""
    for path in [*folder.glob(f"*{_WHOLE}"), *folder.glob(f"*{_PARTIAL}")]:
        with suppress(OSError):  # in use, or removed by another process
            lock = _lock(path, fcntl.LOCK_EX | fcntl.LOCK_NB, os.O_RDONLY)
            if lock is not None:
                path.unlink()
                _unlock(lock)


def _open(path: Path, write: Callable[[BinaryIO], None]) -> SharedImages:
    unfinished = path.with_suffix(_PARTIAL)
    while True:
        lock = _lock(path, fcntl.LOCK_SH, os.O_RDONLY)
        if lock is not None:
            return SharedImages(path, lock)
        try:
            lock = _lock(unfinished, fcntl.LOCK_EX | fcntl.LOCK_NB, os.O_RDWR | os.O_CREAT)
        except BlockingIOError:
            logger.info("Waiting for the process that decodes images into %s.", path.parent)
            # Not an exclusive lock: the file will be the same one under its final name, and in use.
            lock = _lock(unfinished, fcntl.LOCK_SH, os.O_RDONLY)
            if lock is not None:
                _unlock(lock)
            continue
        if lock is None:  # written or given up meanwhile
            continue
        try:
            if path.exists():
                unfinished.unlink()
                continue
            with open(lock, "r+b", closefd=False) as stream:
                write(stream)
                stream.flush()
                os.fsync(lock)  # else a power failure may leave a renamed, empty file
            unfinished.replace(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        finally:
            _unlock(lock)


def _lock(path: Path, kind: int, flags: int) -> int | None:
    """Lock a file; return ``None`` if it is not, or no longer, under its name."""
    try:
        lock = os.open(path, flags | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, kind)
        if os.path.samestat(os.fstat(lock), os.stat(path)):
            return lock
    except FileNotFoundError:
        pass
    except BaseException:
        os.close(lock)
        raise
    _unlock(lock)
    return None


def _unlock(lock: int) -> None:
    fcntl.flock(lock, fcntl.LOCK_UN)  # closing is not enough: a fork or a mapping may have a copy
    os.close(lock)


def _write(
    folder: Path,
    count: int,
    inputs_from: Callable[[int], Iterable[Input]],
    limit: float,
    stream: BinaryIO,
) -> None:
    done = whole_records(stream)
    logger.info("Decoding %d images into %s.", count - done, folder)
    judged = max(done + 1, min(_JUDGED, count))
    for number, mapped in enumerate(inputs_from(done), start=done + 1):
        append_record(stream, mapped)
        if number == judged:
            size = stream.tell()
            _check_room(folder, size * count / number, size, limit)


def _check_room(folder: Path, expected: float, written: int, limit: float) -> None:
    """Raise NoRoomError if images do not fit, in bytes."""
    takes = f"they take {expected / _GIB:.3g} GiB, and"
    if expected > limit:
        raise NoRoomError(f"{takes} SEARCH.IMAGE_CACHE is {limit / _GIB:.3g}")
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if expected > memory:
        raise NoRoomError(f"{takes} this machine has {memory / _GIB:.3g} GiB of memory")
    if expected - written > _free(folder):
        remove_unused(folder)
    if expected - written > (free := _free(folder)):
        raise NoRoomError(
            f"{takes} {max(0, free + written) / _GIB:.3g} GiB can be used in {folder}"
        )


def _free(folder: Path) -> float:
    """Return the bytes that may be written to a folder."""
    found = os.statvfs(folder)
    free = found.f_bavail * found.f_frsize - _MARGIN
    return min(free, _available_memory() / 2) if folder.parent == Path("/dev/shm") else free


def _available_memory() -> int:
    """Return the bytes of memory that can be used without swapping."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def _release(pid: int, lock: int, folder: Path) -> None:
    if os.getpid() != pid:  # a fork, which shares the lock with the process that still needs it
        return
    _unlock(lock)
    remove_unused(folder)
