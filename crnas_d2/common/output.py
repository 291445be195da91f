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


def prepare_output(path: str) -> None:
    """Make a folder; raise ValueError if it cannot be written or has no room for a search."""
    try:
        os.makedirs(path, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path) as probe:
            probe.write(b"." * _MIB)  # more than what a search writes beside weights
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        why = f"cannot be written: {error.strerror}. Make space there, or choose another"
        raise ValueError(f"OUTPUT_DIR is {path}, which {why}.") from error


def check_space(folder: str, num_bytes: int) -> None:
    """Raise JobError if a checkpoint does not fit on the disk."""
    free = shutil.disk_usage(folder).free
    if free < num_bytes:
        raise JobError(
            f"OUTPUT_DIR {folder} has {free / _MIB:.1f} MiB free, but a checkpoint needs "
            f"{num_bytes / _MIB:.1f} MiB: make space, or choose another OUTPUT_DIR."
        )


def evaluation_folder(folder: str) -> str:
    """Return ``OUTPUT_DIR``, or a new folder in it if there is the record of another run."""
    number, free = 0, Path(folder)
    while (free / "config.yaml").exists():
        number += 1
        free = Path(folder) / f"evaluation-{number}"
    return str(free)


@contextmanager
def disk_errors_explained(folder: str) -> Iterator[None]:
    """Turn errors of the disk into a JobError without a stack trace; log lines may be lost."""
    loop, raises = logging.getLogger("detectron2.engine.train_loop"), logging.raiseExceptions
    loop.addFilter(_is_unexpected)
    logging.raiseExceptions = False
    try:
        yield
    except Exception as raised:
        error = _disk_error(raised)
        if error is None:
            raise
        begun = os.path.exists(os.path.join(folder, "last_checkpoint"))
        fix = f"{DISK_ERRORS[error.errno or 0].capitalize()}; then "
        fix += "continue with --resume" if begun else "start again"
        where = error.filename or f"OUTPUT_DIR {folder}"
        raise JobError(f"{where} cannot be written ({error.strerror}). {fix}.") from raised
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
