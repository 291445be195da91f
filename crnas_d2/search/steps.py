"""The steps of a search in its study, for a worker or a simulation of many, without a clock."""

import logging
import math
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import chain, islice
from typing import Any

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
    is_taken_care_of,
    none_is_scored,
)
from .database import Ending
from .history import History
from .searcher import Searcher
from .storage_url import StorageError
from .trial_sets import end_trials

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
class Begun:
    """A candidate that this worker has begun."""

    trial_id: int
    number: int  # of its trial
    genotype: Genotype
    asked: optuna.Trial | None = None  # if a sampler of Optuna has proposed it
    attributes: dict[str, Any] = field(default_factory=dict)  # which are told with the result


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
        self.history = History(self.study, self.space)
        # In a row: proposals, those that were proposed before, and evaluations that raised.
        self.passed_over = self.repeated = self.failed = 0
        self.has_warned = False
        if self.searcher.sampler is not None:
            self.study.sampler = self.searcher.sampler

    def next(self) -> Step:
        """Return what to do next; enqueue candidates if there have to be more."""
        history, candidates = self.history, self.history.candidates
        running = len(history.running)
        if self.stops_early and len(candidates) >= FIRST and candidates[0].fitness is None:
            raise none_is_scored(f"None of the first {len(candidates)} candidates", candidates)
        if len(candidates) >= FIRST and candidates[0].fitness == 0 and not self.has_warned:
            self.has_warned = True
            logger.warning(
                f"The {self.metric} of the first {len(candidates)} candidates is 0, so this search "
                "compares nothing: stop it, and train the supernet longer."
            )
        # Enqueued candidates come first. Without one, the sampler proposes.
        if history.waiting or self.searcher.may_ask(candidates, running):
            return Step.EVALUATE
        # The next proposals may depend on what others evaluate now; some are certain.
        propose = self.searcher.certain if running else self.searcher.propose
        proposed = iter(propose(candidates))
        head = next(proposed, None)
        listed = proposed if head is None else chain([head], proposed)
        new = (genotype for genotype in listed if not history.is_known(genotype))
        first = list(islice(new, max(_LEAST_WAITING, _WAITING_PER_RUNNING * running)))
        if first:
            is_certain = running or self.searcher.proposes_certain
            history.enqueue(first if is_certain else [*first, *new])
            return Step.EVALUATE
        return Step.WAIT if running or head is not None else Step.END

    def begin(self) -> Begun | None:
        """Begin the next candidate; return ``None`` if there is none to evaluate just now."""
        begun = self._claim() or self._sample() or self._ask()
        if begun is None:
            return None
        try:
            # Of several trials of one genotype, the earliest is evaluated.
            others = self._others_like(begun)
            is_new = not any(map(is_taken_care_of, others))
            if is_new and self.searcher.is_feasible(begun.genotype):
                self.passed_over = self.repeated = 0
                return begun
            result = self._pass_over(begun, others)
        except StorageError:
            raise
        except Exception:
            self.end(begun, TrialState.FAIL)
            raise
        self.end(begun, result)
        return None

    def _claim(self) -> Begun | None:
        """Begin the first candidate that waits and that no other worker is faster to begin."""
        for trial in self.history.waiting:
            if self.history.claim(trial):
                genotype = self.history.genotype(trial)
                assert genotype is not None  # it is written with the trial
                return Begun(trial._trial_id, trial.number, genotype)
        return None

    def _sample(self) -> Begun | None:
        """Begin what the searcher samples; ``None`` if it does not."""
        if (sampled := self.searcher.sample(self.history)) is None:
            return None
        genotype, attributes = sampled
        trial = self.history.begin(genotype, attributes)
        return Begun(trial._trial_id, trial.number, genotype)

    def _ask(self) -> Begun | None:
        """Begin what a sampler of Optuna proposes; ``None`` if there is no sampler."""
        if self.searcher.sampler is None:
            return None  # another worker took the last waiting candidate
        trial = self.study.ask()
        try:
            self.history.begin_asked(trial)
            names = trial.user_attrs.get(ENQUEUED, self.space.names)
            values: dict[str, int] = {}
            for choice in self.space.choices:
                if choice.is_active(values) and choice.name in names:
                    values[choice.name] = trial.suggest_categorical(choice.name, choice.options)
        except Exception:
            self.study.tell(trial, state=TrialState.FAIL)
            raise
        self.history.read([trial._trial_id])
        return Begun(trial._trial_id, trial.number, self.space.genotype(values), trial)

    def judge(self, begun: Begun, evaluation: Evaluation) -> Result:
        """Return the result of an evaluation; raise ValueError if its metrics lack the fitness."""
        self.failed, genotype = 0, begun.genotype
        if isinstance(evaluation, Stopped):
            assert self.second_objective is None  # in which it may still be the best
            begun.attributes[IMAGES] = evaluation.num_images
            seen = f"estimated from {evaluation.num_images} images: it cannot win any more"
            logger.info("%s: %s = %s, %s", genotype, self.metric, evaluation.fitness, seen)
            return [evaluation.fitness]
        if evaluation and self.metric not in evaluation:
            names = ", ".join(sorted(evaluation))
            raise invalid("SEARCH.METRIC", self.metric, f"what the evaluator returns: {names}")
        fitness = evaluation.get(self.metric, math.nan)
        finite = {k: v for k, v in evaluation.items() if math.isfinite(v)}
        begun.attributes[METRICS] = finite
        logger.info("%s: %s = %s", genotype, self.metric, fitness)
        if not math.isfinite(fitness):
            begun.attributes[REFUSED] = f"{self.metric} is {fitness}"
            return TrialState.FAIL
        return [fitness, *([self.second_objective(genotype)] if self.second_objective else [])]

    def fail(self, begun: Begun, error: Exception) -> Result:
        """Return the result of an evaluation that raised an exception; the first is tried again."""
        genotype = begun.genotype
        begun.attributes[ERROR] = traceback.format_exc()[-_MOST_TRACEBACK:]
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        if any(ERROR in other.user_attrs for other in self._others_like(begun)):
            begun.attributes[REFUSED] = reason
            logger.warning("%s failed twice and counts as failed: %s", genotype, reason)
        else:
            self.failed += 1
            logger.warning("%s failed, and is tried again later: %s", genotype, reason)
        logger.info("Its traceback:", exc_info=error)
        return TrialState.FAIL

    def end(self, begun: Begun, result: Result) -> None:
        """Tell the result of a candidate."""
        if begun.asked is not None:  # its sampler is told, too
            is_told = _tell(begun.asked, begun.attributes, result)
        else:
            ending = Ending(begun.trial_id, *_state_and_values(result), begun.attributes)
            [is_told] = end_trials(self.study._storage, [ending])
        if not is_told:
            # After a long silence, another worker took this one for dead.
            logger.info("Trial %d was ended by another worker.", begun.number)
        if ERROR in begun.attributes and REFUSED not in begun.attributes:
            self.history.read([begun.trial_id])
            self.history.enqueue([begun.genotype])

    def _others_like(self, begun: Begun) -> list[FrozenTrial]:
        """Return the earlier trials of the genotype of a candidate: duplicates, or failures."""
        history, deadline = self.history, time.monotonic() + _MOST_WRITING
        while True:
            # What Optuna's samplers propose is written choice by choice. Without waiting, two
            # workers that propose one genotype at the same time would both evaluate it.
            unwritten = [
                other._trial_id
                for other in history.like(None, begun.number)
                if not other.state.is_finished()
            ]
            if not unwritten or time.monotonic() >= deadline:
                break
            time.sleep(_POLL_WRITING)
            history.read(unwritten)
        others = history.like(begun.genotype, begun.number)
        if is_open := [other._trial_id for other in others if not other.state.is_finished()]:
            history.read(is_open)
        return history.like(begun.genotype, begun.number)

    def _pass_over(self, begun: Begun, others: Sequence[FrozenTrial]) -> Result:
        """Return the result of a candidate that is not evaluated: a duplicate, or infeasible."""
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
            self.history.enqueue([self.searcher.explore(self.history.genotypes, begun.number)])
        for other in others:
            if other.state == TrialState.COMPLETE:
                begun.attributes[SAME_AS] = other.number
                return other.values
        return TrialState.PRUNED


def _state_and_values(result: Result) -> tuple[TrialState, list[float] | None]:
    return (result, None) if isinstance(result, TrialState) else (TrialState.COMPLETE, result)


def _tell(trial: optuna.Trial, attributes: Mapping[str, Any], result: Result) -> bool:
    """Tell a trial that a sampler of Optuna has proposed; return whether it was still running."""
    state, values = _state_and_values(result)
    try:
        for key, value in attributes.items():
            trial.set_user_attr(key, value)
        trial.study.tell(trial, values, state)
    except (ValueError, UpdateFinishedTrialError):
        return False
    return True
