"""The metrics of a training, and of which weights they are: the one reader of ``metrics.json``."""

import itertools
import json
import math
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode

from crnas_d2.checkpoint import FINAL, read_file
from crnas_d2.config import spell

MAIN = "bbox/AP"  # the metric of a detector
PROVENANCE = "provenance.json"  # the record of an exported folder
EXPORTED = "model.pth"  # its weights
_LOG = "metrics.json"
_SCORE = re.compile("/(AP|top)")  # of COCO, VOC and classifiers
_LOSS = "total_loss"  # logged for steps of the training only


@dataclass(frozen=True)
class TrainingMetrics:
    """What Detectron2 logs of a training into its ``OUTPUT_DIR``.

    Entries are as they were written; of an iteration that is there twice, the later one counts.
    """

    folder: Path
    entries: tuple[dict[str, Any], ...]

    @classmethod
    def read(cls, folder: str | Path) -> "TrainingMetrics":
        """Read ``metrics.json``; skip truncated lines, because the process may have died.

        Raises ValueError if the folder has none.
        """
        log = Path(folder) / _LOG
        if not log.is_file():
            raise ValueError(f"{folder} holds no training: {_LOG} is missing.")
        entries = []
        lines = log.read_text(errors="replace").split("\n")
        for number, line in enumerate(lines, start=1):
            with suppress(json.JSONDecodeError):
                entry = json.loads(line)
                if not isinstance(entry, dict):
                    continue
                for key, value in entry.items():
                    kinds = int if key == "iteration" else (int, float)
                    if not isinstance(value, kinds):
                        was = f"{log}, line {number}: {key} is {value!r}; expected a number"
                        raise ValueError(f"{was}. Restore the file, or delete the line.")
                entries.append(entry)
        return cls(Path(folder), tuple(entries))

    @property
    def seconds(self) -> float:
        """The time of all iterations, from the medians over 20 that Detectron2 logs."""
        timed = dict(self.curve("time"))
        # Each entry stands for the iterations since the one before.
        steps = [0, *(iteration + 1 for iteration in timed)]
        return sum((end - start) * timed[end - 1] for start, end in itertools.pairwise(steps))

    def curve(self, name: str) -> list[tuple[int, float]]:
        """Return the iterations and values of a scalar."""
        values = {e["iteration"]: e[name] for e in self.entries if name in e and "iteration" in e}
        return sorted(values.items())

    def after(self, steps: int, metric: str = "") -> dict[str, float] | None:
        """Return the metrics by ``task/name`` after a number of steps, if they were evaluated."""
        return dict(self._evaluations(metric)).get(steps)

    def _evaluations(self, metric: str) -> list[tuple[int, dict[str, float]]]:
        """Return evaluations of a metric, default any AP or accuracy, each after which step."""
        found, last = [], -1
        for entry in self.entries:
            iteration = entry.get("iteration", 0)
            if _LOSS in entry:
                last = max(last, iteration)
            keys = [metric] if metric else [key for key in entry if _SCORE.search(key)]
            tasks = {key.partition("/")[0] for key in keys if key in entry}
            if tasks:
                # During a training, it has the number of the step before it, which is logged first;
                # after the training, that of a next step.
                steps = iteration + 1 if last >= iteration else iteration
                scores = {k: v for k, v in entry.items() if k.partition("/")[0] in tasks}
                found.append((steps, scores))
        return found

    def final(self, cfg: CfgNode, metric: str) -> dict[str, float]:
        """Return the metrics of the final weights of a training that ``metric`` judges.

        Raises ValueError if it has not ended, or not with an evaluation.
        """
        evaluations = self._evaluations(metric)
        if not evaluations:
            why = "the training did not end with an evaluation."
            raise ValueError(f"{self.folder / _LOG} holds no {metric}: {why}")
        final, fix = self.folder / FINAL, f"Continue it with {spell('train', '--resume')}."
        if not final.is_file():
            raise ValueError(f"{self.folder} holds an unfinished training, without {FINAL}. {fix}")
        steps = _steps(final)
        # With a REFERENCE_WORLD_SIZE, other numbers of processes have other numbers of iterations.
        expected = cfg.SOLVER.MAX_ITER if cfg.SOLVER.REFERENCE_WORLD_SIZE == 0 else 0
        went_on = any(_LOSS in e and e.get("iteration", 0) >= steps for e in self.entries)
        scores = self.after(steps, metric)
        if steps < expected or went_on or scores is None:
            raise ValueError(
                f"{self.folder} holds an unfinished training: {steps} of {max(expected, steps)} "
                f"iterations are in {FINAL}, and the last evaluation came after "
                f"{evaluations[-1][0]}. {fix}"
            )
        return scores


def metrics_of(weights: str | Path) -> dict[str, float | None] | None:
    """Return the metrics of a checkpoint, or of exported weights, if they were evaluated.

    A metric that is not finite is ``None``.
    """
    file = Path(weights)
    if (file.parent / PROVENANCE).is_file():
        return read_record(file.parent / PROVENANCE).get("metrics")
    if not file.is_file() or not (file.parent / _LOG).is_file():
        return None
    found = TrainingMetrics.read(file.parent).after(_steps(file))
    if found is None:
        return None
    return {key: value if math.isfinite(value) else None for key, value in found.items()}


def read_record(file: Path) -> dict[str, Any]:
    """Return the content of a JSON file; empty if there is none."""
    with suppress(OSError, json.JSONDecodeError, UnicodeDecodeError):
        content = json.loads(file.read_text())
        if isinstance(content, dict):
            return content
    return {}


def _steps(weights: Path) -> int:
    """Return after how many steps a checkpoint was written, 0 if it does not say."""
    steps = read_file(str(weights)).get("iteration")
    return steps + 1 if isinstance(steps, int) else 0
