"""Progress bars that suit their output: redrawn on a terminal, a line a minute in a file."""

import os
import sys
from typing import Any

from tqdm import tqdm

_PERIOD = 60.0  # seconds between two lines in a file


def progress_bar(*args: Any, **settings: Any) -> "tqdm[Any]":
    """Return tqdm's bar on stderr, with the arguments of tqdm.

    Where lines cannot be redrawn, it writes one at the start, one a minute, and one at the end.
    """
    if not can_redraw():
        settings |= {"mininterval": _PERIOD, "maxinterval": _PERIOD, "leave": True}
        settings["bar_format"] = "{desc}: {n_fmt}/{total_fmt} {unit}, {remaining} left"
        settings |= {"file": _Lines(), "position": 0}  # a further bar would move the cursor
    bar: tqdm[Any] = tqdm(*args, **settings)
    return bar


def can_redraw() -> bool:
    """Whether stderr is a terminal whose size is known; tqdm shows nothing on one of no lines."""
    return sys.stderr.isatty() and os.get_terminal_size(sys.stderr.fileno()).lines > 0


class _Lines:
    """Writes to stderr what tqdm would redraw."""

    def write(self, text: str) -> None:
        line = text.replace("\r", "").rstrip()
        if line:
            print(line, file=sys.stderr)

    def flush(self) -> None:
        sys.stderr.flush()
