"""Read ``metrics.json``, which Detectron2 writes during a training."""

import json
from contextlib import suppress
from pathlib import Path

__all__ = ["read_metrics"]


def read_metrics(folder: str | Path) -> list[dict]:
    """Read the entries of a training, in the order in which they were written.

    Truncated lines are skipped: the process may have died, or the disk may have been full.

    Raises:
        ValueError: the folder has no ``metrics.json``.
    """
    log = Path(folder) / "metrics.json"
    if not log.is_file():
        raise ValueError(f"{folder} holds no training: metrics.json is missing.")
    entries = []
    for line in log.read_text().splitlines():
        with suppress(json.JSONDecodeError):
            entry = json.loads(line)
            if isinstance(entry, dict):
                entries.append(entry)
    return entries
