"""OUTPUT_DIR: what can be known of it at the start, and what goes wrong with it later."""

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import DISK_ERRORS, JobError

_MIB = 2**20
_PROBE = _MIB  # bytes, more than what a search writes beside weights
_LOOP = "detectron2.engine.train_loop"


def prepare_output(path: str) -> None:
    """Make a folder, and check that it has room for the first files.

    Raises:
        ValueError: naming the folder and what to do.
    """
    try:
        os.makedirs(path, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path) as probe:
            probe.write(b"." * _PROBE)
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        raise ValueError(
            f"OUTPUT_DIR is {path}, which cannot be written: {error.strerror}. Make space there, "
            "or choose another."
        ) from error


def check_space(folder: str, num_bytes: int) -> None:
    """Check that a checkpoint fits on the disk.

    Raises:
        JobError: with the path and both sizes.
    """
    free = shutil.disk_usage(folder).free
    if free < num_bytes:
        raise JobError(
            f"OUTPUT_DIR {folder} has {free / _MIB:.1f} MiB free, but a checkpoint needs "
            f"{num_bytes / _MIB:.1f} MiB: make space, or choose another OUTPUT_DIR."
        )


def evaluation_folder(folder: str) -> str:
    """Return the folder for the files of an evaluation.

    It is ``OUTPUT_DIR`` itself, or a new folder in it if there is the record of another run.
    """
    number, free = 0, Path(folder)
    while (free / "config.yaml").exists():
        number += 1
        free = Path(folder) / f"evaluation-{number}"
    return str(free)


@contextmanager
def disk_errors_explained(folder: str) -> Iterator[None]:
    """Turn errors of the disk within this context into a JobError, without a stack trace.

    Log lines that cannot be written are lost.
    """
    loop, raises = logging.getLogger(_LOOP), logging.raiseExceptions
    loop.addFilter(_is_unexpected)
    logging.raiseExceptions = False
    try:
        yield
    except Exception as raised:
        error = _disk_error(raised)
        if error is None:
            raise
        begun = os.path.exists(os.path.join(folder, "last_checkpoint"))
        raise JobError(
            f"{error.filename or f'OUTPUT_DIR {folder}'} cannot be written ({error.strerror}). "
            f"{DISK_ERRORS[error.errno or 0].capitalize()}; then "
            + ("continue with --resume." if begun else "start again.")
        ) from raised
    finally:
        loop.removeFilter(_is_unexpected)
        logging.raiseExceptions = raises


def _is_unexpected(record: logging.LogRecord) -> bool:
    """Filter the stack traces that Detectron2 logs."""
    return record.exc_info is None or _disk_error(record.exc_info[1]) is None


def _disk_error(error: BaseException | None) -> OSError | None:
    """Return the error of the disk that is, or has led to, the given one."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            return error
        # Hooks that run after a failed step may fail, too.
        error = error.__cause__ or error.__context__
    return None
