"""What users are told when something is wrong: one line that names the value and the fix."""

import errno
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

from .secrets_in_urls import hide_secrets


class JobError(ValueError):
    """A job cannot start or continue; the message gives the reason and the fix."""


def invalid(
    key: str,
    value: object,
    expected: str = "",
    *,
    but: str = "",
    fix: str = "",
    known: Iterable[str] = (),
) -> ValueError:
    """Return the error of a value: ``KEY is VALUE, but BUT; expected EXPECTED. FIX.``

    Args:
        key: what has the value: a config key, an argument, a file.
        fix: what to do; like the others, without the last full stop.
        known: names that may have been meant; the nearest are suggested.
    """
    message = f"{key} is {value!r}"
    message += f", but {but}" if but else ""
    message += f"; expected {expected}." if expected else "."
    message += f" {fix}." if fix else ""
    return ValueError(message + (did_you_mean(str(value), known) if known else ""))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a sentence with the known names nearest to one, or nothing if none is near."""
    by_lower = {word.lower(): word for word in known}
    near = [by_lower[word] for word in get_close_matches(str(name).lower(), by_lower, n=3)]
    return f" Did you mean {' or '.join(near)}?" if near else ""


_PACKAGE = Path(__file__).resolve().parent.parent
_OTHER_PATH = "choose a path that this user can read and write"
# Errors of a disk or a machine, not of the program, and what to do about them.
DISK_ERRORS = {
    errno.ENOSPC: "make space",
    errno.EDQUOT: "make space",
    errno.EFBIG: "choose another file system",
    errno.EROFS: "choose a folder that can be written",
    errno.EACCES: _OTHER_PATH,
    errno.EPERM: _OTHER_PATH,
    errno.EIO: "check the disk",
    errno.ESTALE: "check the network share",
    errno.ENOTDIR: "choose another path, because a part of this one is a file",
    errno.EMFILE: "raise the limit with ulimit -n",
}


@contextmanager
def one_line_errors(script: str, stopped: str = "Stopped.") -> Iterator[None]:
    """Run the body of a script; turn an expected error into one line on stderr and exit status 1.

    Expected are ``JobError``, what this package or the script (its ``__file__``) raises as
    ``ValueError``, what the operating system says about a file, and a GPU whose memory is full.
    Any other error keeps its traceback. An interrupted script says ``stopped``, unless the
    KeyboardInterrupt has a message.
    """
    name = Path(script).name
    try:
        yield
    except KeyboardInterrupt as stop:
        sys.exit(str(stop) or stopped)
    except Exception as error:
        if _is_of_torch(error, "ProcessExitedException"):  # of a training on several GPUs
            # A process that ends itself has said why; one that was killed has not.
            was_killed = getattr(error, "exit_code", 0) < 0
            why = f": {error}; continue with --resume." if was_killed else "."
            sys.exit(f"{name}: a process of the training has ended{why}")
        message = _expected(error, Path(script).resolve())
        if message is None:
            traceback.print_exc()
            words = "the error above was not expected. Please report it as an issue of crnas_d2"
            message = f"{words}, with the command, its config and all lines of the traceback."
        sys.exit(f"{name}: {hide_secrets(' '.join(message.split()))}")


def _expected(error: Exception, script: Path) -> str | None:
    """Return the message of an error that the user can mend; ``None`` for any other."""
    if isinstance(error, OSError) and (error.filename is not None or error.errno in DISK_ERRORS):
        where = "" if error.filename is None else f"{error.filename}: "
        fix = DISK_ERRORS.get(error.errno or 0)
        again = f": {fix}, then run the same command again" if fix else ""
        return f"{where}{error.strerror}{again}."
    if isinstance(error, FloatingPointError):  # Detectron2's, of losses and boxes
        return f"{error} Lower SOLVER.BASE_LR, or warm up longer."
    if _is_of_torch(error, "OutOfMemoryError"):
        return (
            f"{str(error).partition('. ')[0]}. Set SOLVER.GRADIENT_ACCUMULATION to 2 or more, use "
            "smaller images (INPUT.MIN_SIZE_TRAIN, INPUT.MAX_SIZE_TRAIN), or free the GPU."
        )
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    file = Path(frame.f_code.co_filename).resolve()  # that raised it
    is_ours = file == script or _PACKAGE in file.parents
    is_ours = is_ours or type(error).__module__.startswith("crnas_d2.")
    is_expected = isinstance(error, ValueError | OSError) and is_ours
    return str(error) if is_expected or isinstance(error, JobError) else None


def _is_of_torch(error: Exception, name: str) -> bool:
    """Whether an error is one of torch's, which this module does not import."""
    return any(c.__name__ == name and c.__module__.startswith("torch") for c in type(error).mro())
