"""Files and folders of results: checked before the work, whole or not at all after it."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

PARTIAL = ".partial"  # the end of the name of a file that is being written

AnyPath = str | os.PathLike[str]


@contextmanager
def whole_file(path: AnyPath) -> Iterator[BinaryIO]:
    """Yield a stream for the content of a file, which gets its name if no error is raised.

    Nobody reads a half-written file, and a file that was there before stays until then. Several
    processes may write the same one; the last wins. After an OSError nothing has changed.
    """
    partial = Path(f"{path}.{os.getpid()}{PARTIAL}")
    try:
        with open(partial, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())  # else a power failure may leave a renamed, empty file
        os.replace(partial, path)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


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

    def beside() -> Path:  # because a folder can be renamed on its own disk only
        return Path(tempfile.mkdtemp(prefix=f".{output.name}.making-", dir=output.parent))

    unfinished, before = beside(), None
    try:
        yield unfinished
        umask = os.umask(0)
        os.umask(umask)
        unfinished.chmod(0o777 & ~umask)
        if is_needless():
            return
        if output.exists():  # a folder cannot be renamed onto one that is not empty
            before = beside()
            output.rename(before / output.name)
        try:
            unfinished.rename(output)
        except OSError:
            if not is_needless():
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        if before is not None:
            shutil.rmtree(before, ignore_errors=True)


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
        known = f"{', '.join(suffixes[:-1])} or {suffixes[-1]}"
        raise ValueError(f"--output is {output}; expected a name that ends with {known}.")
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
