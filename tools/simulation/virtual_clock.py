"""A search by many workers on a virtual clock: how long it takes, and how much they wait."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count

import optuna
from optuna.samplers import BaseGASampler

from crnas_d2.search.candidates import Candidate
from crnas_d2.search.presence import BEAT
from crnas_d2.search.searcher import Searcher
from crnas_d2.search.steps import Begun, Step, Steps
from crnas_d2.search.worker import pause_after
from crnas_d2.space import Genotype

_MOST_LOAD = 0.95  # of the storage by workers that look for work, and by heartbeats


@dataclass(frozen=True)
class StorageLoad:
    """What a search asks of its storage, which serves one operation after the other.

    Attributes:
        operation: seconds of an operation while no candidate is being evaluated.
        per_running: further seconds of an operation for each candidate that is being evaluated,
            because it is read again each time.
        operations: number of operations per candidate, without heartbeats and without looks of
            workers that wait.
    """

    operation: float = 0.0
    per_running: float = 0.0
    operations: int = 0


@dataclass(frozen=True)
class Simulated:
    """How a search went.

    Attributes:
        num_workers: how many there were.
        candidates: all that were evaluated, the best first.
        seconds: from the first proposal to the last result.
        idle: the share of the workers' time in which they do not evaluate.
        operations: of the storage, per second.
        generations: of an evolution; ``None`` of other searches.
    """

    num_workers: int
    candidates: Sequence[Candidate]
    seconds: float
    idle: float
    operations: float
    generations: int | None


def simulate(
    searcher: Searcher,
    num_workers: int,
    fitness: Callable[[Genotype], float],
    seconds: Callable[[Genotype], float],
    load: StorageLoad | None = None,
) -> Simulated:
    """Run a search of several workers, without evaluation and without waiting.

    The searcher, its study and the steps of a worker are those of a real search.

    Args:
        fitness: returns the fitness of a candidate.
        seconds: returns how long its evaluation takes, above 0.
        load: of the storage; default: none.
    """
    study = optuna.create_study(direction="maximize")
    steps = Steps(study, searcher, "fitness", stops_early=False)
    workers = _Workers(num_workers, load or StorageLoad())
    while (event := workers.next()) is not None:
        worker, done = event
        if done is not None:
            steps.end(done, steps.judge(done, {"fitness": fitness(done.genotype)}))
            workers.wake_up()
        steps.history.update()
        step = steps.next()
        if step is Step.EVALUATE:
            if (begun := steps.begin()) is not None:
                workers.evaluate(worker, begun, seconds(begun.genotype))
            else:
                workers.look_again(worker)
        elif step is Step.WAIT:
            workers.wait(worker)
    return Simulated(
        num_workers,
        list(steps.history.candidates),
        workers.now,
        1 - workers.evaluating / (num_workers * workers.now),
        workers.operations / workers.now,
        _num_generations(study, searcher),
    )


def _num_generations(study: optuna.Study, searcher: Searcher) -> int | None:
    sampler = searcher.sampler
    if not isinstance(sampler, BaseGASampler):
        return None
    return next(number for number in count() if not sampler.get_population(study, number))


class _Workers:
    """The clock: when each worker is free, what it waits for, and the queue at the storage."""

    def __init__(self, number: int, load: StorageLoad):
        self.now = self.evaluating = self.operations = 0.0
        self.load = load
        self._pause = pause_after(0)
        self._order = count()  # of events at the same time
        self._events: list[tuple[float, int, int, Begun | None]] = []
        self._running = 0
        self._waiting: dict[int, float] = {}  # since when
        self._must_wait = False  # known from another worker, since the last result
        self._storage_free = 0.0
        for worker in range(number):
            self._push(0.0, worker)

    def next(self) -> tuple[int, Begun | None] | None:
        """Return the next worker that is free, with what it has evaluated; ``None`` at the end."""
        while self._events:
            time, _, worker, done = heappop(self._events)
            if done is None and self._must_wait:
                self._waiting[worker] = time
                continue
            self.now = max(self.now, time)
            self._running -= done is not None
            return worker, done
        return None

    def evaluate(self, worker: int, what: Begun, seconds: float) -> None:
        """Let a worker evaluate a candidate, as soon as the storage has served it."""
        operation = self.load.operation + self.load.per_running * self._running
        beats = int(seconds // BEAT) if self.load.operations else 0
        per_second = len(self._waiting) / self._pause
        per_second += self._running * beats / seconds
        start, share = max(self.now, self._storage_free), min(_MOST_LOAD, per_second * operation)
        self._storage_free = start + self.load.operations * operation / (1 - share)
        self._running += 1
        self.evaluating += seconds
        self.operations += self.load.operations + beats
        self._pause = pause_after(seconds)
        self._push(self._storage_free + seconds, worker, what)

    def look_again(self, worker: int) -> None:
        self._push(self.now, worker)

    def wait(self, worker: int) -> None:
        """Let a worker wait, and all others that are free until there is a new result."""
        self._waiting[worker] = self.now
        self._must_wait = True

    def wake_up(self) -> None:
        """Let each worker that waits notice a result when it looks next."""
        self._must_wait = False
        pause = self._pause
        for worker, since in self._waiting.items():
            looks = math.ceil((self.now - since) / pause)
            self.operations += looks
            self._push(since + looks * pause, worker)
        self._waiting.clear()

    def _push(self, time: float, worker: int, done: Begun | None = None) -> None:
        heappush(self._events, (time, next(self._order), worker, done))
