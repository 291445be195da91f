"""A folder of results that appears as a whole, or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crnas_d2.common.output import check_output


def check_new_folder(
    folder: str | os.PathLike, mark: str, *, overwrite: bool, inputs: tuple = ()
) -> None:
    """Check before the work that a folder can be written, and that nothing would be lost.

    Args:
        mark: a file that every folder of this kind has; only such a folder is overwritten.
        inputs: files and folders that are read; none may be the folder, or lie in it.

    Raises:
        ValueError: with the path and what to do.
    """
    check_output(str(folder))
    output = Path(folder).resolve()
    for path in map(Path, inputs):
        given = path.resolve()
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


@contextmanager
def new_folder(folder: str | os.PathLike) -> Iterator[Path]:
    """Yield a folder to write to, which takes the place of ``folder`` if no error is raised.

    Raises:
        OSError: it cannot be written; what was there before is unchanged.
    """
    output = Path(os.path.abspath(folder))
    output.parent.mkdir(parents=True, exist_ok=True)
    # Beside it, because a file can be renamed on its own disk only.
    unfinished = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    try:
        yield unfinished
        unfinished.chmod(0o777 & ~_umask())
        if output.exists():
            before = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
            output.rename(before / output.name)
            unfinished.rename(output)
            shutil.rmtree(before)
        else:
            unfinished.rename(output)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask
