"""Candidates of a search, as its study stores them."""

from bisect import bisect_left, insort
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

from optuna.trial import FrozenTrial, TrialState

from crnas_d2.space import Genotype, SearchSpace

# User attributes of a trial.
ENQUEUED = "enqueued"  # the values of its choices, by name, if a searcher listed it
METRICS = "metrics"
ERROR = "error"  # the traceback of its evaluation
REFUSED = "refused"  # the reason of a failure that would repeat, unlike the death of a worker
SAME_AS = "same_as"  # the number of the trial whose result a duplicate has been given
IMAGES = "images"  # how many a stopped evaluation has seen

_MOST_INSERTED = 100  # candidates at a time; more are sorted with all others


@dataclass(frozen=True)
class Candidate:
    """One genotype that was evaluated."""

    genotype: Genotype  # partial in a search that decides one choice after the other
    fitness: float | None  # None if the evaluation gave no finite number
    metrics: Mapping[str, float] = field(default_factory=dict)  # all, e.g. {"bbox/AP": 31.4}
    seconds: float = 0.0
    failure: str = ""  # why there is no fitness
    images: int | None = None  # seen by its evaluation if that was stopped; None: all of archval


@dataclass(frozen=True)
class Stopped:
    """The result of an evaluation that was stopped, because its candidate cannot win any more."""

    fitness: float  # estimated; below that of the candidate that it cannot reach
    num_images: int  # that it has seen


@dataclass(frozen=True)
class Finalist:
    """A candidate that was trained by itself after the search."""

    candidate: Candidate  # with its fitness in the supernet
    fitness: float  # after the training
    seconds: float  # of the training
    weights: str  # the path of its checkpoint


def genotype_of(trial: FrozenTrial, space: SearchSpace) -> Genotype | None:
    """Return the genotype of a trial, even if it still waits; ``None`` if it has none."""
    is_enqueued = ENQUEUED in trial.user_attrs
    values = trial.user_attrs[ENQUEUED] if is_enqueued else trial.params
    # A sampler of Optuna writes one choice after the other, and its worker may have died.
    is_whole = is_enqueued or all(
        choice.name in values for choice in space.choices if choice.is_active(values)
    )
    return space.genotype(values) if is_whole else None


def has_result(trial: FrozenTrial) -> bool:
    """Whether a trial was evaluated, with a fitness or in vain."""
    return trial.state == TrialState.COMPLETE or REFUSED in trial.user_attrs


def is_taken_care_of(trial: FrozenTrial) -> bool:
    """Whether a trial has a result, or will have one."""
    return trial.state in (TrialState.WAITING, TrialState.RUNNING) or has_result(trial)


def candidate_of(trial: FrozenTrial, genotype: Genotype) -> Candidate:
    """Return the candidate of a trial that has a result."""
    return Candidate(
        genotype,
        trial.values[0] if trial.state == TrialState.COMPLETE else None,
        trial.user_attrs.get(METRICS, {}),
        trial.duration.total_seconds() if trial.duration is not None else 0.0,
        trial.user_attrs.get(REFUSED, ""),
        trial.user_attrs.get(IMAGES),
    )


class Candidates(Sequence[Candidate]):
    """All candidates with a result: the best first, those without a fitness last.

    Ties are in the order of the genotypes, so that it does not matter which worker was faster.

    Attributes:
        by_genotype: the same by genotype.
        num_scored: how many have a fitness.
        num_stopped: how many of them were stopped, see :class:`Stopped`.
    """

    def __init__(self, candidates: Iterable[Candidate] = ()):
        self.by_genotype: dict[Genotype, Candidate] = {}
        self.num_scored = self.num_stopped = 0
        self._sorted: list[Candidate] = []
        self._new: list[Candidate] = []  # which are not among the sorted ones yet
        for candidate in candidates:
            self.add(candidate)

    @classmethod
    def of(cls, candidates: Collection[Candidate]) -> "Candidates":
        """Return these candidates if they are in order, else put them in order."""
        return candidates if isinstance(candidates, cls) else cls(candidates)

    def add(self, candidate: Candidate) -> None:
        """Add a candidate, or replace what was known of its genotype."""
        before = self.by_genotype.get(candidate.genotype)
        if before == candidate:
            return
        if before is not None:
            place = bisect_left(self._in_order(), _rank(before), key=_rank)
            del self._sorted[place]
            self._count(before, -1)
        self.by_genotype[candidate.genotype] = candidate
        self._new.append(candidate)
        self._count(candidate, 1)

    def _in_order(self) -> list[Candidate]:
        if len(self._new) > _MOST_INSERTED:
            self._sorted = sorted([*self._sorted, *self._new], key=_rank)
        else:
            for candidate in self._new:
                insort(self._sorted, candidate, key=_rank)
        self._new = []
        return self._sorted

    def _count(self, candidate: Candidate, number: int) -> None:
        self.num_scored += number * (candidate.fitness is not None)
        self.num_stopped += number * (candidate.images is not None)

    def __len__(self) -> int:
        return len(self.by_genotype)

    @overload
    def __getitem__(self, index: int) -> Candidate: ...
    @overload
    def __getitem__(self, index: slice) -> list[Candidate]: ...
    def __getitem__(self, index: int | slice) -> Candidate | list[Candidate]:
        return self._in_order()[index]


def _rank(candidate: Candidate) -> tuple[Any, ...]:
    return candidate.fitness is None, -(candidate.fitness or 0.0), candidate.genotype


def none_is_scored(subject: str, candidates: Iterable[Candidate]) -> ValueError:
    """Return the error of a search all of whose candidates, the subject, have failed."""
    failure = next(c.failure for c in candidates if c.fitness is None)
    return ValueError(
        f"{subject} has a finite fitness (e.g. {failure}). A metric is nan where archval has "
        "nothing that it could score: choose another SEARCH.METRIC or archval. Of an evaluation "
        "that failed, log.txt has the traceback: solve it, and search in a new OUTPUT_DIR."
    )
