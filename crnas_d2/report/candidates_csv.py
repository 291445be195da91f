"""All candidates of a search as a table for other programs."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from crnas_d2.evaluation import FitnessNoise
from crnas_d2.search import Candidate
from crnas_d2.space import AdditiveCost, SearchSpace


def write_candidates(
    path: str | Path,
    candidates: Sequence[Candidate],
    space: SearchSpace,
    costs: Mapping[str, AdditiveCost],
    noise: FitnessNoise | None = None,
) -> None:
    """Write one line per evaluated genotype, the best first, numbers in full precision.

    Columns of costs have their names in lower case. For a prefix, the choices that are still open
    and the costs are empty, and so is an interval that is not known. If evaluations were stopped
    early, the column ``images`` says after how many images; it is empty for those on all images.
    """
    metrics = list(dict.fromkeys(name for c in candidates for name in c.metrics))
    intervals = noise.intervals if noise is not None else {}
    stopped = ["images"] if any(c.images is not None for c in candidates) else []
    with Path(path).open("w", newline="") as stream:
        writer = csv.writer(stream)
        names = [name.lower() for name in costs]
        fitness = ["fitness", "fitness_low", "fitness_high"]
        writer.writerow([*space.names, *fitness, *metrics, *names, *stopped, "seconds"])
        for candidate in candidates:
            values = space.values(candidate.genotype, partial=True)
            is_complete = space.is_complete(candidate.genotype)
            writer.writerow(
                [
                    *(values.get(name, "") for name in space.names),
                    "failed" if candidate.fitness is None else candidate.fitness,
                    *intervals.get(candidate.genotype, ("", "")),
                    *(candidate.metrics.get(name, "") for name in metrics),
                    *(cost(candidate.genotype) if is_complete else "" for cost in costs.values()),
                    *("" if candidate.images is None else candidate.images for _ in stopped),
                    f"{candidate.seconds:.2f}",
                ]
            )
