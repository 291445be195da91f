"""Candidates of a search, as its study stores them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from crnas_d2.space import Genotype, SearchSpace

# User attributes of a trial.
ENQUEUED = "enqueued"  # the values of its choices, by name, if a searcher listed it
METRICS = "metrics"
ERROR = "error"  # the traceback of its evaluation
REFUSED = "refused"  # the reason of a failure that would repeat, unlike the death of a worker
SAME_AS = "same_as"  # the number of the trial whose result a duplicate has been given
IMAGES = "images"  # how many a stopped evaluation has seen


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
    # Kept, because a worker reads all trials several times per candidate.
    key, known = (is_enqueued, tuple(values.items())), space.genotypes_of_trials
    if key not in known:
        # A worker may have died after writing some of the choices.
        is_whole = is_enqueued or all(
            choice.name in values for choice in space.choices if choice.is_active(values)
        )
        known[key] = space.genotype(values) if is_whole else None
    return known[key]


def decided_genotype(trial: FrozenTrial, space: SearchSpace) -> Genotype:
    """Return the genotype of a trial that has one, e.g. because it has a result."""
    genotype = genotype_of(trial, space)
    assert genotype is not None, trial.number
    return genotype


def enqueue(study: optuna.Study, space: SearchSpace, genotypes: Iterable[Genotype]) -> None:
    """Enqueue those genotypes that are not evaluated, running or waiting."""
    known = taken_care_of(study.get_trials(deepcopy=False), space)
    kinds = {choice.name: CategoricalDistribution(choice.options) for choice in space.choices}
    for genotype in (genotype for genotype in genotypes if genotype not in known):
        values = space.values(genotype, partial=True)
        trial = optuna.create_trial(
            state=TrialState.WAITING,
            params=values,  # so that a worker need not write them one by one
            distributions={name: kinds[name] for name in values},
            user_attrs={ENQUEUED: values},
        )
        study.add_trial(trial)


def has_result(trial: FrozenTrial) -> bool:
    """Whether a trial was evaluated, with a fitness or in vain."""
    return trial.state == TrialState.COMPLETE or REFUSED in trial.user_attrs


def is_taken_care_of(trial: FrozenTrial) -> bool:
    """Whether a trial has a result, or will have one."""
    return trial.state in (TrialState.WAITING, TrialState.RUNNING) or has_result(trial)


def taken_care_of(trials: Iterable[FrozenTrial], space: SearchSpace) -> set[Genotype | None]:
    """Return the genotypes that have a result, or will have one."""
    return {genotype_of(trial, space) for trial in trials if is_taken_care_of(trial)}


def evaluated(study: optuna.Study, space: SearchSpace) -> list[Candidate]:
    """Return every genotype that has a result: the best first, those without a fitness last."""
    return candidates_of(study.get_trials(deepcopy=False), space)


def candidates_of(trials: Sequence[FrozenTrial], space: SearchSpace) -> list[Candidate]:
    """Return the candidates of trials, as :func:`evaluated`."""
    candidates = {}
    for trial in trials:
        if not has_result(trial) or SAME_AS in trial.user_attrs:
            continue
        genotype = decided_genotype(trial, space)
        candidates[genotype] = Candidate(
            genotype,
            trial.values[0] if trial.state == TrialState.COMPLETE else None,
            trial.user_attrs.get(METRICS, {}),
            trial.duration.total_seconds() if trial.duration is not None else 0.0,
            trial.user_attrs.get(REFUSED, ""),
            trial.user_attrs.get(IMAGES),
        )
    # Ties in the order of the genotypes, so that it does not matter which worker was faster.
    return sorted(
        candidates.values(), key=lambda c: (c.fitness is None, -(c.fitness or 0.0), c.genotype)
    )


def none_is_scored(subject: str, candidates: Iterable[Candidate]) -> ValueError:
    """Return the error of a search all of whose candidates, the subject, have failed."""
    failure = next(c.failure for c in candidates if c.fitness is None)
    return ValueError(
        f"{subject} has a finite fitness (e.g. {failure}). A metric is nan where archval has "
        "nothing that it could score: choose another SEARCH.METRIC or archval. Of an evaluation "
        "that failed, log.txt has the traceback: solve it, and search in a new OUTPUT_DIR."
    )
