"""Files and folders of results: checked before the work, whole or not at all after it."""

import fcntl
import glob
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

PARTIAL = ".partial"  # the end of the name of a file that is being written

AnyPath = str | os.PathLike[str]


@contextmanager
def whole_file(path: AnyPath) -> Iterator[BinaryIO]:
    """Yield a stream for the content of a file, which gets its name if no error is raised.

    Nobody reads a half-written file, and a file that was there before stays until then. Several
    processes may write the same one; the last wins. After an OSError nothing has changed. What
    killed processes have left is removed.
    """
    final = Path(path)
    remove_abandoned(final.parent, f"{glob.escape(final.name)}.{'[0-9a-f]' * 8}{PARTIAL}")

    def make() -> Path:  # another name for each process, on each machine
        partial = Path(f"{path}.{secrets.token_hex(4)}{PARTIAL}")
        partial.touch(exist_ok=False)
        return partial

    try:
        with _made(make) as partial, open(partial, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())  # else a power failure may leave a renamed, empty file
            os.replace(partial, final)
    except OSError as error:
        is_ours = error.filename is None or str(error.filename).endswith(PARTIAL)
        if not is_ours or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


@contextmanager
def _made(make: Callable[[], Path]) -> Iterator[Path]:
    """Make a file or a folder that is locked until it is renamed, else removed in the end.

    It does without a lock where the file system has none.
    """
    while True:
        path = make()
        lock = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():  # else another process has taken it for an abandoned one
            break
        os.close(lock)
    try:
        yield path
    finally:
        _remove(path)
        os.close(lock)


def remove_abandoned(folder: Path, pattern: str) -> None:
    """Remove unfinished files and folders of killed processes; those at work hold a lock."""
    for path in folder.glob(pattern):
        with suppress(OSError):
            lock = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(path)
            finally:
                os.close(lock)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def read_text(path: AnyPath) -> str:
    """Read text in UTF-8, with or without a byte order mark; raise ValueError if it is none."""
    try:
        with open(path, "rb") as stream:
            return stream.read().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise ValueError(f"{path} does not exist.") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file in UTF-8: {error.reason}.") from error
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}.") from error


def write_file(path: AnyPath, content: str | bytes) -> None:
    """Write text or bytes to a file as a whole, see :func:`whole_file`."""
    with whole_file(path) as stream:
        stream.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def whole_folder(
    folder: AnyPath, *, is_needless: Callable[[], bool] = lambda: False
) -> Iterator[Path]:
    """Yield an empty folder, which takes the place of ``folder`` if no error is raised.

    It does not if ``is_needless``, asked at the end, says that another process was faster. After an
    OSError, what was there before is unchanged.
    """
    output = Path(os.path.abspath(folder))
    output.parent.mkdir(parents=True, exist_ok=True)
    making, before = f".{output.name}.making-", f".{output.name}.before-"
    drawn = "[a-z0-9_]" * 8  # by mkdtemp
    remove_abandoned(output.parent, f"{glob.escape(making)}{drawn}")
    if output.exists():  # else it is what a process was about to replace when it was killed
        remove_abandoned(output.parent, f"{glob.escape(before)}{drawn}")

    def beside(prefix: str) -> Path:  # because a folder can be renamed on its own disk only
        return Path(tempfile.mkdtemp(prefix=prefix, dir=output.parent))

    with ExitStack() as stack:
        unfinished = stack.enter_context(_made(lambda: beside(making)))
        yield unfinished
        umask = os.umask(0)
        os.umask(umask)
        unfinished.chmod(0o777 & ~umask)
        if is_needless():
            return
        old = None
        if output.exists():  # a folder cannot be renamed onto one that is not empty
            old = stack.enter_context(_made(lambda: beside(before))) / output.name
            output.rename(old)
        try:
            unfinished.rename(output)
        except OSError:
            if is_needless():
                return
            if old is not None:
                old.rename(output)
            raise


def check_writable(folder: AnyPath, key: str = "OUTPUT_DIR") -> None:
    """Raise ValueError, with the key, if no file can be written to a folder, once it is made."""
    if not str(folder):
        raise ValueError(f"{key} is empty: name the folder for the results.")
    existing = Path(os.path.abspath(folder))
    while not os.path.lexists(existing):
        existing = existing.parent
    given = f"{key} is {folder}, but {existing}"
    if not existing.is_dir():
        raise ValueError(f"{given} is not a folder: choose another {key}.")
    if not os.access(existing, os.W_OK | os.X_OK):
        fix = f"change its permissions, or choose another {key}"
        raise ValueError(f"{given} cannot be written to: {fix}.")


def check_new_file(file: str, suffixes: Sequence[str], *, overwrite: bool) -> Path:
    """Raise ValueError if ``--output`` has another suffix, replaces a file or is not writable."""
    output = Path(file)
    if output.suffix.lower() not in suffixes:
        known = " or ".join(filter(None, [", ".join(suffixes[:-1]), suffixes[-1]]))
        raise ValueError(f"--output is {output}; expected a name that ends with {known}.")
    if output.is_dir():
        raise ValueError(f"--output {output} is a folder: name a file in it.")
    if output.exists() and not overwrite:
        fix = "choose another name, or replace it with --overwrite"
        raise ValueError(f"--output {output} exists already: {fix}.")
    check_writable(output.parent, "--output")
    return output


def check_new_folder(
    folder: AnyPath, mark: str, *, overwrite: bool, inputs: Sequence[AnyPath] = ()
) -> None:
    """Raise ValueError if a folder cannot be written, or if that would replace what is needed.

    Args:
        mark: a file that every folder of this kind has; only such a folder is overwritten.
        inputs: files and folders that are read; none may be the folder, or lie in it.
    """
    check_writable(folder, "--output")
    output = Path(folder).resolve()
    for path in inputs:
        given = Path(path).resolve()
        if given == output or output in given.parents:
            fix = "choose another folder for the results"
            raise ValueError(f"--output {folder} holds the input {path}: {fix}.")
    if not output.exists() or not any(output.iterdir()):
        return
    if not overwrite:
        fix = "choose another folder, or replace it with --overwrite"
        raise ValueError(f"--output {folder} holds files already: {fix}.")
    if not (output / mark).is_file():
        why = f"holds other files and no {mark}, so --overwrite does not replace it"
        raise ValueError(f"--output {folder} {why}: choose another folder.")
