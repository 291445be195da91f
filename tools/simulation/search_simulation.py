"""How long the search of a config takes with more and more workers, on a virtual clock."""

import csv
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from detectron2.config import CfgNode
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter
from tabulate import tabulate

from crnas_d2.common.errors import JobError
from crnas_d2.config import NetworkSpec
from crnas_d2.engine.estimate import budgeted_searcher
from crnas_d2.search import Searcher
from crnas_d2.space import Genotype
from tools.simulation.virtual_clock import Simulated, StorageLoad, simulate

_HOUR = 3600.0
_HEADERS = (
    *("workers", "hours", "speed-up", "idle", "candidates", "generations"),
    "storage operations per s",
)


def simulated_searcher(cfg: CfgNode) -> Searcher:
    """Build the search algorithm of a config, without its weights and its data.

    Raises:
        JobError: the config describes no search.
    """
    spec = NetworkSpec.from_config(cfg)
    if not spec.is_supernet or spec.is_searched_in_training:
        raise JobError(
            f"MODEL.SUPERNET.SPACE is '{cfg.MODEL.SUPERNET.SPACE}' with PATH_SAMPLER "
            f"'{cfg.MODEL.SUPERNET.PATH_SAMPLER}', which no search evaluates: name the config of "
            "a stage, operation or joint search."
        )
    return budgeted_searcher(cfg)


def measured_seconds(folder: str | Path) -> list[float]:
    """Return how long each evaluation of a finished search took.

    Args:
        folder: the search's ``OUTPUT_DIR``.

    Raises:
        JobError: it has no times.
    """
    path = Path(folder) / "candidates.csv"
    try:
        with path.open(newline="") as file:
            seconds = [float(row["seconds"]) for row in csv.DictReader(file)]
    except (OSError, KeyError, ValueError) as error:
        raise JobError(
            f"{path} cannot be read as the candidates of a finished search ({error}): name the "
            "OUTPUT_DIR of one, or give --seconds."
        ) from error
    seconds = [value for value in seconds if value > 0]
    if not seconds:
        raise JobError(f"{path} has no evaluation that took time: give --seconds.")
    return seconds


def times_like(measured: Sequence[float], seed: int) -> Callable[[Genotype], float]:
    """Return a function that assigns each genotype one of the measured times, deterministically."""
    return lambda genotype: Random(f"{seed}/seconds/{genotype}").choice(measured)


def times_with_spread(mean: float, spread: float, seed: int) -> Callable[[Genotype], float]:
    """Return a function that assigns each genotype a log-normal time, deterministically.

    Args:
        mean: in seconds.
        spread: standard deviation over mean.

    Raises:
        JobError: out of range.
    """
    if not (math.isfinite(mean) and mean > 0):
        raise JobError(f"--seconds is {mean}; expected a number above 0.")
    if not (math.isfinite(spread) and spread >= 0):
        raise JobError(f"--spread is {spread}; expected a number of at least 0.")
    sigma = math.sqrt(math.log1p(spread**2))

    def seconds(genotype: Genotype) -> float:
        random = Random(f"{seed}/seconds/{genotype}")
        return mean * math.exp(random.gauss(0, 1) * sigma - sigma**2 / 2)

    return seconds


def simulate_search(
    searcher: Searcher,
    workers: Sequence[int],
    seconds: Callable[[Genotype], float],
    load: StorageLoad,
    seed: int,
) -> list[Simulated]:
    """Simulate a search for each number of workers; the fitness of candidates is random.

    Raises:
        JobError: a number of workers below 1.
    """
    for number in workers:
        if number < 1:
            raise JobError(f"--workers has {number}; expected at least 1.")

    def fitness(genotype: Genotype) -> float:
        return Random(f"{seed}/fitness/{genotype}").random()

    return [simulate(searcher, number, fitness, seconds, load) for number in workers]


def simulation_table(simulations: Sequence[Simulated]) -> str:
    rows = [
        [number, f"{hours:.2f}", f"{speed_up:.1f}", f"{idle:.0%}", *counts, f"{operations:.2f}"]
        for number, hours, speed_up, idle, *counts, operations in _rows(simulations)
    ]
    return tabulate(rows, headers=_HEADERS, disable_numparse=True, missingval="")


def write_simulations(simulations: Sequence[Simulated], path: Path) -> None:
    """Write the table as CSV, in full precision."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_HEADERS)
        writer.writerows(_rows(simulations))


def draw_simulations(simulations: Sequence[Simulated], title: str) -> Figure:
    """Draw speed-up and idle share against the number of workers."""
    workers = [simulated.num_workers for simulated in simulations]
    figure = Figure(figsize=(8, 3.5), layout="constrained")
    figure.suptitle(title)
    speed, idle = figure.subplots(1, 2)
    _, _, ups, shares, *_ = zip(*_rows(simulations), strict=True)
    speed.loglog(workers, workers, color="#9aa5b1", linestyle="--", label="as many as workers")
    speed.loglog(workers, ups, "o-", color="#d94801", label="simulated")
    speed.set(xlabel="workers", ylabel="speed-up")
    speed.legend()
    idle.semilogx(workers, [100 * share for share in shares], "o-", color="#3182bd")
    idle.set(xlabel="workers", ylabel="idle (%)", ylim=(0, 100))
    for axes in (speed, idle):
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.grid(alpha=0.3)
    speed.yaxis.set_major_formatter(ScalarFormatter())
    return figure


def _rows(simulations: Sequence[Simulated]) -> list[tuple]:
    """Return the values of a table; the speed-up is over the evaluations one after the other."""
    return [
        (
            simulated.num_workers,
            simulated.seconds / _HOUR,
            simulated.num_workers * (1 - simulated.idle),
            simulated.idle,
            len(simulated.candidates),
            simulated.generations,
            simulated.operations,
        )
        for simulated in simulations
    ]
