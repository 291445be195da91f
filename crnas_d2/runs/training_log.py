"""Read ``metrics.json``, which Detectron2 writes during a training."""

import itertools
import json
from contextlib import suppress
from pathlib import Path


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


def training_seconds(folder: str | Path) -> float:
    """Return the time of all iterations, from the medians over 20 that Detectron2 logs.

    Raises:
        ValueError: the folder has no ``metrics.json``.
    """
    # Each entry stands for the iterations since the one before; of a resumed one, the last counts.
    timed = {e["iteration"]: e["time"] for e in read_metrics(folder) if "time" in e}
    steps = [0, *(iteration + 1 for iteration in sorted(timed))]
    return sum((end - start) * timed[end - 1] for start, end in itertools.pairwise(steps))
