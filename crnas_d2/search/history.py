"""What a worker knows of a study, kept up to date by reading only what has changed."""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from copy import copy

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from crnas_d2.space import Genotype, SearchSpace

from .candidates import (
    ENQUEUED,
    ERROR,
    REFUSED,
    SAME_AS,
    Candidate,
    Candidates,
    candidate_of,
    genotype_of,
    has_result,
    is_taken_care_of,
)
from .presence import WORKER, this_process
from .trial_sets import add_trials, claim_trials, read_trials

# Pause between two looks at the trials of others, in multiples of what a look takes.
_PAUSE = 20
_KEPT = (ERROR, REFUSED, SAME_AS)  # user attributes that are of use after the end of a trial


class History:
    """The trials of a study.

    Finished trials never change, so they are read once. Those that this worker runs are read at
    each update, those of others as often as takes a twentieth of the time: with a thousand workers,
    reading all that runs takes longer than a proposal.

    Attributes:
        candidates: all that have a result.
        open: the trials that wait or run, by id, in the order of their numbers.
        mine: the ids of those that this worker runs.
        finished: all others with their genotypes, in the order in which they were seen; without
            parameters, and with few attributes.
        num_lost: how many genotypes have ceased to be known, because their only trial has ended
            without a result.
    """

    def __init__(self, study: optuna.Study, space: SearchSpace):
        self.study, self.space = study, space
        self._kinds = {c.name: CategoricalDistribution(c.options) for c in space.choices}
        self.candidates = Candidates()
        self.open: dict[int, FrozenTrial] = {}
        self.mine: set[int] = set()
        self.finished: list[tuple[FrozenTrial, Genotype | None]] = []
        self.num_lost = 0
        self._newest, self._next_look = -1, 0.0
        self._genotypes: dict[int, Genotype] = {}  # of open trials, by id
        self._like: defaultdict[Genotype | None, dict[int, FrozenTrial]] = defaultdict(dict)
        self.update()

    @property
    def running(self) -> list[FrozenTrial]:
        return [trial for trial in self.open.values() if trial.state == TrialState.RUNNING]

    @property
    def waiting(self) -> list[FrozenTrial]:
        return [trial for trial in self.open.values() if trial.state == TrialState.WAITING]

    def update(self) -> None:
        """Read what has changed in the study."""
        start = time.monotonic()
        looks = start >= self._next_look
        self.read(self.open if looks else self.mine)
        if looks and not isinstance(self.study._storage, InMemoryStorage):
            now = time.monotonic()
            self._next_look = now + _PAUSE * (now - start)

    def read(self, ids: Iterable[int]) -> None:
        """Read trials that are open, and those that are new."""
        storage, study_id = self.study._storage, self.study._study_id
        for trial in read_trials(storage, study_id, list(ids), self._newest):
            self._newest = max(self._newest, trial._trial_id)
            self._take_in(trial)

    def genotype(self, trial: FrozenTrial) -> Genotype | None:
        """Return the genotype of an open trial; ``None`` if its choices are not written yet."""
        return self._genotypes.get(trial._trial_id)

    def like(self, genotype: Genotype | None, before: int | None = None) -> list[FrozenTrial]:
        """Return the trials of a genotype, or those before a number, in any order."""
        trials = self._like[genotype].values() if genotype in self._like else ()
        return [trial for trial in trials if before is None or trial.number < before]

    def is_known(self, genotype: Genotype) -> bool:
        """Whether a genotype has a result, is being evaluated, or waits for that."""
        return any(map(is_taken_care_of, self.like(genotype)))

    @property
    def genotypes(self) -> set[Genotype]:
        """The genotypes of all trials."""
        return {genotype for genotype in self._like if genotype is not None}

    @property
    def num_known(self) -> int:
        """How many genotypes are known."""
        return sum(map(self.is_known, self.genotypes))

    def enqueue(self, genotypes: Iterable[Genotype]) -> None:
        """Enqueue those genotypes that are not known."""
        templates = []
        for genotype in dict.fromkeys(genotypes):
            if not self.is_known(genotype):
                values = self.space.values(genotype, partial=True)
                attributes = {ENQUEUED: values}
                templates.append(self._template(TrialState.WAITING, values, attributes, {}))
        if templates:
            add_trials(self.study._storage, self.study._study_id, templates)
            self.read([])

    def claim(self, trial: FrozenTrial) -> bool:
        """Begin a trial that waits; return whether no other worker has begun it."""
        key, me = trial._trial_id, {WORKER: this_process()}
        [is_mine] = claim_trials(self.study._storage, [key], me)
        if is_mine:
            begun = copy(trial)
            begun.state, begun.user_attrs = TrialState.RUNNING, {**trial.user_attrs, **me}
            self.mine.add(key)
            self._take_in(begun)
        else:
            self.read([key])
        return is_mine

    def begin(self, genotype: Genotype, attributes: Mapping[str, object]) -> FrozenTrial:
        """Begin a new trial, in one transaction; it gets these system attributes."""
        values, me = self.space.values(genotype), {WORKER: this_process()}
        template = self._template(TrialState.RUNNING, values, me, attributes)
        [key] = add_trials(self.study._storage, self.study._study_id, [template])
        self.mine.add(key)
        self.read([])
        return self.open[key]

    def begin_asked(self, trial: optuna.Trial) -> None:
        """Take note of a trial that this worker has asked of Optuna."""
        trial.set_user_attr(WORKER, this_process())
        self.mine.add(trial._trial_id)

    def _template(
        self,
        state: TrialState,
        values: dict[str, int],
        attributes: Mapping[str, object],
        system_attributes: Mapping[str, object],
    ) -> FrozenTrial:
        return create_trial(
            state=state,
            params=values,
            distributions={name: self._kinds[name] for name in values},
            user_attrs=dict(attributes),
            system_attrs=dict(system_attributes),
        )

    def _take_in(self, trial: FrozenTrial) -> None:
        """Put a trial that is new or has changed in its place."""
        key, number = trial._trial_id, trial.number
        genotype = self._genotypes.get(key)
        if genotype is None:
            self._like[None].pop(number, None)  # its choices may be written by now
            genotype = genotype_of(trial, self.space)
        like, is_over = self._like[genotype], trial.state.is_finished()
        like[number] = _slim(trial) if is_over else trial
        if genotype is not None and number == _last_result(like):
            self.candidates.add(candidate_of(trial, genotype))
        if not is_over:
            self.open[key] = trial
            if genotype is not None:
                self._genotypes[key] = genotype
            return
        self.open.pop(key, None)
        self._genotypes.pop(key, None)
        self.mine.discard(key)
        self.finished.append((like[number], genotype))
        if genotype is not None and not self.is_known(genotype):
            self.num_lost += 1


def evaluated(study: optuna.Study, space: SearchSpace) -> list[Candidate]:
    """Return every genotype that has a result: the best first, those without a fitness last."""
    return list(History(study, space).candidates)


def enqueue(study: optuna.Study, space: SearchSpace, genotypes: Iterable[Genotype]) -> None:
    """Enqueue those genotypes that are not evaluated, running or waiting."""
    History(study, space).enqueue(genotypes)


def _last_result(trials: Mapping[int, FrozenTrial]) -> int | None:
    """Return the number of the last of a genotype's trials that has a result of its own."""
    numbers = (n for n, t in trials.items() if has_result(t) and SAME_AS not in t.user_attrs)
    return max(numbers, default=None)


def _slim(trial: FrozenTrial) -> FrozenTrial:
    """Return what is of use of a finished trial."""
    slim = copy(trial)
    slim.params, slim.distributions = {}, {}
    slim.user_attrs = {key: trial.user_attrs[key] for key in _KEPT if key in trial.user_attrs}
    return slim
