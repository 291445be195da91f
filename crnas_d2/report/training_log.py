"""What Detectron2 writes about a training, ``metrics.json``."""

import json
from contextlib import suppress
from pathlib import Path

__all__ = ["read_metrics"]


def read_metrics(folder: str | Path) -> list[dict]:
    """The entries of a training, in the order in which they were written.

    A line that was cut off, where a process died or a disk was full, is left out.

    Raises:
        ValueError: the folder has no ``metrics.json``.
    """
    log = Path(folder) / "metrics.json"
    if not log.is_file():
        raise ValueError(f"{folder} holds no training: metrics.json is missing.")
    entries = []
    for line in log.read_text().splitlines():
        with suppress(json.JSONDecodeError):
            entries.append(json.loads(line))
    return entries
