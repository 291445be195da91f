"""What the rows of the benchmark have left: trainings of all folds and seeds, and their costs."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from crnas_d2.evaluation import difference_interval, resampled_images
from crnas_d2.runs.folds import FoldComparison, FoldedRun, read_folds

from . import pruned_family  # noqa: F401  (the runs' PLUGINS, which reading does not import)
from .rows import ROWS, SEARCHED, UNLIMITED, Fold
from .steps import read_work

LATENCY = "latency.json"  # beside the folds: milliseconds by the folder of a run


@dataclass(frozen=True)
class Row:
    """A row of the table: the trainings of all folds, for each seed."""

    name: str
    share: float | None  # None for the detector itself
    folds: dict[int, Sequence[Fold]]  # by seed
    trainings: dict[int, FoldedRun]  # by seed

    @property
    def scores(self) -> list[float]:
        """AP over the images of all folds, in percent, by seed."""
        return [training.ap for training in self.trainings.values()]

    @property
    def ap(self) -> float:
        return float(np.mean(self.scores))

    @cached_property
    def resampled(self) -> np.ndarray:
        """AP on samples of the images, mean over the seeds."""
        results = [training.results for training in self.trainings.values()]
        counts = resampled_images(results[0].num_images)
        return np.mean([each.scores(counts) for each in results], axis=0)

    def cost(self, name: str) -> float:
        """Return the mean of ``macs`` or ``parameters`` of the body over folds and seeds."""
        runs = [run for training in self.trainings.values() for run in training.runs]
        return float(np.mean([getattr(run.cost, name) for run in runs]))

    @property
    def cpu_seconds(self) -> float | None:
        """CPU seconds of a fold, with those of the search that the row needs, if all are known."""
        steps = [self.name, *([SEARCHED[self.name]] if self.name in SEARCHED else [])]
        folds = [fold for folds in self.folds.values() for fold in folds]
        works = [[read_work(fold.run_of(step)) for step in steps] for fold in folds]
        known = [w["cpu_seconds"] if w["done"] else None for work in works for w in work]
        return None if None in known else sum(known) / len(folds)

    def latency(self, times: dict[str, dict[str, float]], part: str) -> float | None:
        """Return the mean milliseconds of ``body`` or ``detector``, if all were measured."""
        runs = [run for training in self.trainings.values() for run in training.runs]
        known = [times.get(str(run.folder), {}).get(part) for run in runs]
        return None if None in known else float(np.mean(known))


def read_rows(folders: Sequence[Path], shares: Sequence[float]) -> Iterator[Row | str]:
    """Yield the rows that are finished in all folds, and a sentence for each that is not."""
    for share in (None, *shares):
        names = [name for name in ROWS if (name in UNLIMITED) == (share is None)]
        for name in names:
            trainings, of_seed = {}, {}
            for seed in _seeds(folders[0]):
                folds = [Fold(folder, share or 1.0, seed, []) for folder in folders]
                runs = [fold.run_of(name) for fold in folds]
                if not any(run.exists() for run in runs):
                    continue
                try:
                    trainings[seed] = read_folds(name, runs)
                except ValueError as error:
                    yield f"Left out: {name}, share {share}, seed {seed}: {error}"
                else:
                    of_seed[seed] = folds
            if trainings:
                FoldComparison.of(list(trainings.values()))  # checks that they have the same tests
                yield Row(name, share, of_seed, trainings)


def difference(row: Row, reference: Row) -> tuple[float, tuple[float, float]] | None:
    """Return the difference in AP to a row and its 95 % interval over images, paired.

    The seeds are those that both have; ``None`` if there is none.
    """
    seeds = [seed for seed in row.trainings if seed in reference.trainings]
    if not seeds:
        return None
    ours, theirs = (
        Row(r.name, r.share, r.folds, {seed: r.trainings[seed] for seed in seeds})
        for r in (row, reference)
    )
    interval = difference_interval(ours.ap, ours.resampled, theirs.ap, theirs.resampled)
    return ours.ap - theirs.ap, interval


def read_latency(folders: Sequence[Path]) -> dict[str, Any]:
    """Return what the latency step has written beside the folds, or nothing."""
    file = folders[0].parent / LATENCY
    return json.loads(file.read_text()) if file.exists() else {"runs": {}}


def _seeds(folder: Path) -> list[int]:
    own = Fold(folder, 1.0, 0, []).search.SEED
    others = [path.name.removeprefix("seed") for path in folder.glob("output/seed*")]
    return [own, *sorted(int(seed) for seed in others if seed.isdecimal())]
