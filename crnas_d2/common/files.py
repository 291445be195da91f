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
    processes may write the same one; the last wins.

    Raises:
        OSError: it cannot be written; nothing has changed.
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

    Args:
        is_needless: asked at the end; whether ``folder`` is already what it should be, because
            another process was faster.

    Raises:
        OSError: it cannot be written; what was there before is unchanged.
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
    """Check that files can be written to a folder, which may be made later.

    Args:
        key: the setting that names it, for messages.

    Raises:
        ValueError: with the path and what to do.
    """
    if not str(folder):
        raise ValueError(f"{key} is empty: name the folder for the results.")
    existing = Path(os.path.abspath(folder))
    while not os.path.lexists(existing):
        existing = existing.parent
    if not existing.is_dir():
        raise ValueError(
            f"{key} is {folder}, but {existing} is not a folder: choose another {key}."
        )
    if not os.access(existing, os.W_OK | os.X_OK):
        raise ValueError(
            f"{key} is {folder}, but {existing} cannot be written to: change its permissions, or "
            f"choose another {key}."
        )


def check_new_file(file: str, suffixes: Sequence[str], *, overwrite: bool) -> Path:
    """Check that ``--output`` can be written, and that it replaces nothing.

    Args:
        suffixes: one of which ends the name, e.g. ``(".png", ".svg")``.

    Raises:
        ValueError: with the path and what to do.
    """
    output = Path(file)
    if output.suffix.lower() not in suffixes:
        known = f"{', '.join(suffixes[:-1])} or {suffixes[-1]}"
        raise ValueError(f"--output is {output}; expected a name that ends with {known}.")
    if output.exists() and not overwrite:
        raise ValueError(
            f"--output {output} exists already: choose another name, or replace it with "
            "--overwrite."
        )
    check_writable(output.parent, "--output")
    return output


def check_new_folder(
    folder: AnyPath, mark: str, *, overwrite: bool, inputs: Sequence[AnyPath] = ()
) -> None:
    """Check before the work that a folder can be written, and that nothing would be lost.

    Args:
        mark: a file that every folder of this kind has; only such a folder is overwritten.
        inputs: files and folders that are read; none may be the folder, or lie in it.

    Raises:
        ValueError: with the path and what to do.
    """
    check_writable(folder, "--output")
    output = Path(folder).resolve()
    for path in inputs:
        given = Path(path).resolve()
        if given == output or output in given.parents:
            raise ValueError(
                f"--output {folder} holds the input {path}: choose another folder for the results."
            )
    if not output.exists() or not any(output.iterdir()):
        return
    if not overwrite:
        raise ValueError(
            f"--output {folder} holds files already: choose another folder, or replace it with "
            "--overwrite."
        )
    if not (output / mark).is_file():
        raise ValueError(
            f"--output {folder} holds other files and no {mark}, so --overwrite does not replace "
            "it: choose another folder."
        )
