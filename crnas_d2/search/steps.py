"""The steps of a search in its study, for a worker or a simulation of many, without a clock."""

import logging
import math
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from crnas_d2.common.errors import invalid
from crnas_d2.space import Genotype

from .candidates import (
    ENQUEUED,
    ERROR,
    IMAGES,
    METRICS,
    REFUSED,
    SAME_AS,
    Stopped,
    candidates_of,
    decided_genotype,
    enqueue,
    genotype_of,
    is_taken_care_of,
    none_is_scored,
    taken_care_of,
)
from .searcher import Searcher

logger = logging.getLogger(__name__)

FIRST = 5  # candidates; if none of them has a fitness, or one worker fails with all, none will
_MOST_WRITING = 5.0  # seconds that a worker has to write its proposal, then it counts as dead
_POLL_WRITING = 0.05  # seconds between two looks at it
_MOST_PASSED_OVER = 1_000  # proposals in a row
_MOST_REPEATED = 5  # proposals in a row; then a random candidate is evaluated instead
_MOST_TRACEBACK = 4_000  # characters, which every database can store
# Candidates that are enqueued at a time if all are certain to be needed, for each that is being
# evaluated and at least: each look at the study reads all that wait, and the rest can follow.
_WAITING_PER_RUNNING, _LEAST_WAITING = 2, 16

Evaluation = Mapping[str, float] | Stopped  # metrics of a candidate, or that it was stopped
Result = TrialState | list[float]  # the values of a trial, or the state in which it ends without


class Step(Enum):
    """What a worker does next: evaluate a candidate, wait for others, or end the search."""

    EVALUATE, WAIT, END = "evaluate", "wait", "end"


@dataclass
class Steps:
    """Decides what comes next, begins a trial, judges its evaluation, and tells the result."""

    study: optuna.Study
    searcher: Searcher
    metric: str  # the key of the fitness among the metrics of a candidate; higher is better
    second_objective: Callable[[Genotype], float] | None = None  # a cost to minimize
    stops_early: bool = True  # ValueError if none of the first candidates has a finite fitness

    def __post_init__(self) -> None:
        self.space = self.searcher.space
        # In a row: proposals, those that were proposed before, and evaluations that raised.
        self.passed_over = self.repeated = self.failed = 0
        self.has_warned = False
        if self.searcher.sampler is not None:
            self.study.sampler = self.searcher.sampler

    def next(self, trials: Sequence[FrozenTrial]) -> Step:
        """Return what to do next, given all trials; enqueue candidates if there have to be more."""
        states = [trial.state for trial in trials]
        running = states.count(TrialState.RUNNING)
        candidates = candidates_of(trials, self.space)
        if self.stops_early and len(candidates) >= FIRST and candidates[0].fitness is None:
            raise none_is_scored(f"None of the first {len(candidates)} candidates", candidates)
        if len(candidates) >= FIRST and candidates[0].fitness == 0 and not self.has_warned:
            self.has_warned = True
            logger.warning(
                f"The {self.metric} of the first {len(candidates)} candidates is 0, so this search "
                "compares nothing: stop it, and train the supernet longer."
            )
        # Enqueued candidates come first. Without one, the sampler proposes.
        if TrialState.WAITING in states or self.searcher.may_ask(candidates, running):
            return Step.EVALUATE
        # The next proposals may depend on what others evaluate now; some are certain.
        certain = self.searcher.certain(candidates)
        proposed = certain if running else self.searcher.propose(candidates)
        known = taken_care_of(trials, self.space)
        new = [genotype for genotype in proposed if genotype not in known]
        if new:
            first = new[: max(_LEAST_WAITING, _WAITING_PER_RUNNING * running)]
            later = set(new).difference(first).intersection(certain)
            enqueue(self.study, self.space, [g for g in new if g not in later])
            return Step.EVALUATE
        return Step.WAIT if running or proposed else Step.END

    def begin(self, trial: optuna.Trial) -> Genotype | Result:
        """Return the genotype of a new trial, or its result if it needs no evaluation."""
        if ENQUEUED not in trial.user_attrs and self.searcher.sampler is None:
            return TrialState.PRUNED  # another worker took the last waiting candidate
        names = trial.user_attrs.get(ENQUEUED, self.space.names)  # a prefix lacks the last ones
        values: dict[str, int] = {}
        for choice in self.space.choices:
            if choice.is_active(values) and choice.name in names:
                values[choice.name] = trial.suggest_categorical(choice.name, choice.options)
        genotype = self.space.genotype(values)
        # Of several trials of one genotype, the earliest is evaluated.
        others = self._others_like(trial.number)
        if any(map(is_taken_care_of, others)) or not self.searcher.is_feasible(genotype):
            return self._pass_over(trial, others)
        self.passed_over = self.repeated = 0
        return genotype

    def judge(self, trial: optuna.Trial, genotype: Genotype, evaluation: Evaluation) -> Result:
        """Return the result of an evaluation; raise ValueError if its metrics lack the fitness."""
        self.failed = 0
        if isinstance(evaluation, Stopped):
            assert self.second_objective is None  # in which it may still be the best
            trial.set_user_attr(IMAGES, evaluation.num_images)
            seen = f"estimated from {evaluation.num_images} images: it cannot win any more"
            logger.info("%s: %s = %s, %s", genotype, self.metric, evaluation.fitness, seen)
            return [evaluation.fitness]
        if evaluation and self.metric not in evaluation:
            names = ", ".join(sorted(evaluation))
            raise invalid("SEARCH.METRIC", self.metric, f"what the evaluator returns: {names}")
        fitness = evaluation.get(self.metric, math.nan)
        trial.set_user_attr(METRICS, {k: v for k, v in evaluation.items() if math.isfinite(v)})
        logger.info("%s: %s = %s", genotype, self.metric, fitness)
        if not math.isfinite(fitness):
            trial.set_user_attr(REFUSED, f"{self.metric} is {fitness}")
            return TrialState.FAIL
        return [fitness, *([self.second_objective(genotype)] if self.second_objective else [])]

    def fail(self, trial: optuna.Trial, genotype: Genotype, error: Exception) -> Result:
        """Return the result of an evaluation that raised an exception; the first is tried again."""
        trial.set_user_attr(ERROR, traceback.format_exc()[-_MOST_TRACEBACK:])
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        if any(ERROR in other.user_attrs for other in self._others_like(trial.number)):
            trial.set_user_attr(REFUSED, reason)
            logger.warning("%s failed twice and counts as failed: %s", genotype, reason)
        else:
            self.failed += 1
            logger.warning("%s failed, and is tried again later: %s", genotype, reason)
        logger.info("Its traceback:", exc_info=error)
        return TrialState.FAIL

    def end(self, trial: optuna.Trial, result: Result) -> None:
        """Tell the result of a trial."""
        try:
            state, values = (result, None) if isinstance(result, TrialState) else (None, result)
            self.study.tell(trial, values, state, skip_if_finished=True)
        except UpdateFinishedTrialError:
            # After a long silence, another worker took this one for dead.
            logger.info("Trial %d was ended by another worker.", trial.number)
        if ERROR in trial.user_attrs and REFUSED not in trial.user_attrs:
            frozen = self.study.get_trials(deepcopy=False)[trial.number]
            enqueue(self.study, self.space, [decided_genotype(frozen, self.space)])

    def _others_like(self, number: int) -> list[FrozenTrial]:
        """Return the earlier trials of the genotype of a trial: duplicates, or failures."""
        deadline = time.monotonic() + _MOST_WRITING
        while True:
            *earlier, trial = self.study.get_trials(deepcopy=False)[: number + 1]
            genotypes = [genotype_of(other, self.space) for other in earlier]
            pairs = list(zip(earlier, genotypes, strict=True))
            # Their parameters are written one by one. Without waiting, two workers that propose
            # one genotype at the same time would both evaluate it.
            is_written = all(g is not None or o.state != TrialState.RUNNING for o, g in pairs)
            if is_written or time.monotonic() >= deadline:
                same = genotype_of(trial, self.space)
                return [other for other, genotype in pairs if genotype == same]
            time.sleep(_POLL_WRITING)

    def _pass_over(self, trial: optuna.Trial, others: Sequence[FrozenTrial]) -> Result:
        """End a trial without evaluation: it is a duplicate, or infeasible."""
        self.passed_over += 1
        if self.passed_over == _MOST_PASSED_OVER:
            raise ValueError(
                f"{_MOST_PASSED_OVER} proposals of {self.study.sampler} in a row are duplicates or "
                "infeasible. Evaluate fewer candidates, widen SEARCH.BUDGET, or use "
                "SEARCH.ALGORITHM 'evolution' or 'random'."
            )
        if not self.searcher.answers_duplicates:
            return TrialState.PRUNED
        self.repeated = self.repeated + 1 if others else 0
        if self.repeated == _MOST_REPEATED:
            self.repeated = 0
            # A sampler that is sure of its optimum proposes nothing else.
            trials = self.study.get_trials(deepcopy=False)
            known = {g for o in trials if (g := genotype_of(o, self.space)) is not None}
            enqueue(self.study, self.space, [self.searcher.explore(known, trial.number)])
        for other in others:
            if other.state == TrialState.COMPLETE:
                trial.set_user_attr(SAME_AS, other.number)
                return other.values
        return TrialState.PRUNED
