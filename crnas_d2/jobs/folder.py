"""Checks of the folder that a job writes to, before it works for hours."""

import os
import tempfile

__all__ = ["check_folder", "prepare_folder"]

_PROBE = 1 << 20  # bytes, more than what a search writes beside weights


def check_folder(path: str) -> None:
    """Check that a folder exists or can be made; make none.

    Raises:
        ValueError: its name is empty, it or a parent is a file, or it cannot be written.
    """
    if not path.strip():
        raise ValueError("OUTPUT_DIR is empty; name the folder to write to.")
    parent = os.path.abspath(path)
    while not os.path.lexists(parent):
        parent = os.path.dirname(parent)
    if not os.path.isdir(parent):
        raise ValueError(f"OUTPUT_DIR is {path}, but {parent} is not a folder. Choose another.")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise ValueError(
            f"OUTPUT_DIR is {path}, but {parent} cannot be written: it is read-only, or yours to "
            "read only. Choose another."
        )


def prepare_folder(path: str) -> None:
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
