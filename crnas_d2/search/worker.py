"""A worker: takes one candidate after another from the study, and evaluates it."""

import logging
import math
import time
import traceback
from collections.abc import Callable, Mapping

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from crnas_d2.space import Genotype, SearchSpace

from .candidates import (
    ENQUEUED,
    ERROR,
    IMAGES,
    METRICS,
    REFUSED,
    SAME_AS,
    Stopped,
    enqueue,
    evaluated,
    genotype_of,
    is_taken_care_of,
    others_like,
)
from .presence import Lookout, at_work
from .searcher import Searcher
from .storage import StorageError

__all__ = ["run_worker"]

logger = logging.getLogger(__name__)

_POLL = 1.0  # seconds between two looks at the candidates of other workers
# Seconds that a worker has to write its proposal, after which it counts as dead; and seconds
# between two looks at it.
_MOST_WRITING, _POLL_WRITING = 5.0, 0.05
_MOST_PASSED_OVER = 1_000
_MOST_REPEATED = 5  # proposals in a row; then a random candidate is evaluated instead
_FIRST = 5  # candidates; if none of them has a fitness, or one worker fails with all, none will
_MOST_TRACEBACK = 4_000  # characters, which every database can store


def run_worker(
    study: optuna.Study,
    space: SearchSpace,
    searcher: Searcher,
    evaluate: Callable[[Genotype], Mapping[str, float] | Stopped],
    metric: str,
    after_candidate: Callable[[], None] = lambda: None,
    second_objective: Callable[[Genotype], float] | None = None,
    *,
    stops_early: bool = True,
) -> None:
    """Evaluate what the searcher proposes, along with other workers, until the search is over.

    A candidate fails if its fitness is missing or not finite, or if its evaluation raises an
    exception for the second time; it is evaluated again after the first time.

    Args:
        evaluate: returns the metrics of a genotype, or that its evaluation was stopped.
        metric: the key of the fitness among them; higher is better.
        after_candidate: called after each evaluation and while waiting for others.
        second_objective: returns the cost to minimize of a genotype, if the study has two
            objectives.
        stops_early: stop if none of the first candidates has a finite fitness.

    Raises:
        ValueError: the evaluator lacks the metric, the sampler proposes nothing new, or the first
            candidates all fail.
        StorageError: the study cannot be read or written.
    """
    if searcher.sampler is not None:
        study.sampler = searcher.sampler
    lookout = Lookout()
    worker = _Worker(study, space, searcher, evaluate, metric, second_objective)
    while True:
        # First, because a sampler would skip the candidate of a dead worker as a duplicate.
        _release_dead_trials(study, space, lookout)
        states = [trial.state for trial in study.get_trials(deepcopy=False)]
        running = states.count(TrialState.RUNNING)
        candidates = evaluated(study, space)
        if stops_early and len(candidates) >= _FIRST and candidates[0].fitness is None:
            raise ValueError(
                f"None of the first {len(candidates)} candidates has a finite fitness (e.g. "
                f"{candidates[-1].failure}). Either the evaluation is broken, the supernet detects "
                "nothing yet, or archval has nothing to score. Train it longer, or solve it."
            )
        # Enqueued candidates come first. Without one, the sampler proposes.
        if TrialState.WAITING in states or searcher.may_ask(candidates, running):
            worker.run_trial()
        elif running:  # the next proposals depend on the results of other workers
            time.sleep(_POLL)
        else:
            proposed = searcher.propose(candidates)
            if not proposed:
                return
            enqueue(study, space, proposed)
        after_candidate()


class _Worker:
    """Runs trials; see :func:`run_worker` for the arguments."""

    def __init__(self, study, space, searcher, evaluate, metric, second_objective):
        self.study = study
        self.space = space
        self.searcher = searcher
        self.evaluate = evaluate
        self.metric = metric
        self.second_objective = second_objective
        self.passed_over = 0  # proposals in a row
        self.repeated = 0  # proposals in a row that were proposed before
        self.failed = 0  # candidates in a row whose evaluation raised an exception

    def run_trial(self) -> None:
        """Ask for a trial, evaluate it, and tell the result."""
        trial = self.study.ask()
        with at_work(trial):
            try:
                result = self._judge(trial)
            except StorageError:
                raise  # nobody can be told; the trial is found by its dead worker
            except Exception:
                self._tell(trial, TrialState.FAIL)
                raise
        if isinstance(result, TrialState):
            self._tell(trial, result)
        else:
            self._tell(trial, TrialState.COMPLETE, result)
        if self.failed == _FIRST:
            error = trial.user_attrs[ERROR].strip().splitlines()[-1]
            raise ValueError(
                f"The evaluations of {_FIRST} candidates in a row failed, the last one with "
                f"'{error}' (log.txt has the traceback). Solve it, then continue with --resume."
            )

    def _judge(self, trial: optuna.Trial) -> TrialState | list[float]:
        """Return the values of a trial, or the state in which it ends without."""
        if ENQUEUED not in trial.user_attrs and self.searcher.sampler is None:
            return TrialState.PRUNED  # another worker took the last waiting candidate
        genotype = _suggest(trial, self.space)
        # Of several trials of one genotype, the earliest is evaluated.
        _wait_for_earlier(self.study, self.space, trial.number)
        others = others_like(self.study, self.space, trial.number)
        if any(map(is_taken_care_of, others)) or not self.searcher.is_feasible(genotype):
            return self._pass_over(trial, others)
        self.passed_over = self.repeated = 0
        try:
            result = self.evaluate(genotype)
            metrics = {} if isinstance(result, Stopped) else dict(result)
        except Exception as error:
            return self._fail(trial, genotype, error, any(ERROR in o.user_attrs for o in others))
        self.failed = 0
        if isinstance(result, Stopped):
            assert self.second_objective is None  # in which it may still be the best
            trial.set_user_attr(IMAGES, result.num_images)
            logger.info(
                "%s: %s = %s, estimated from %d images: it cannot win any more",
                *(genotype, self.metric, result.fitness, result.num_images),
            )
            return [result.fitness]
        fitness = _fitness(metrics, self.metric)
        finite = {key: value for key, value in metrics.items() if math.isfinite(value)}
        trial.set_user_attr(METRICS, finite)
        logger.info("%s: %s = %s", genotype, self.metric, fitness)
        if not math.isfinite(fitness):
            trial.set_user_attr(REFUSED, f"{self.metric} is {fitness}")
            return TrialState.FAIL
        if self.second_objective is None:
            return [fitness]
        return [fitness, self.second_objective(genotype)]

    def _pass_over(self, trial: optuna.Trial, others: list) -> TrialState | list[float]:
        """End a trial without evaluation: it is a duplicate, or infeasible."""
        self.passed_over += 1
        if self.passed_over == _MOST_PASSED_OVER:
            raise ValueError(
                f"{_MOST_PASSED_OVER} proposals of {self.study.sampler} in a row "
                "are duplicates or infeasible under SEARCH.BUDGET. Evaluate fewer candidates, "
                "widen the budget, or use SEARCH.ALGORITHM 'evolution' or 'random'."
            )
        if not self.searcher.answers_duplicates:
            return TrialState.PRUNED
        self.repeated = self.repeated + 1 if others else 0
        if self.repeated == _MOST_REPEATED:
            self.repeated = 0
            # A sampler that is sure of its optimum proposes nothing else.
            known = {genotype_of(o, self.space) for o in self.study.get_trials(deepcopy=False)}
            enqueue(self.study, self.space, [self.searcher.explore(known, trial.number)])
        scored = [other for other in others if other.state == TrialState.COMPLETE]
        if not scored:
            return TrialState.PRUNED
        trial.set_user_attr(SAME_AS, scored[0].number)
        return scored[0].values

    def _fail(
        self, trial: optuna.Trial, genotype: Genotype, error: Exception, failed_before: bool
    ) -> TrialState:
        """End a trial whose evaluation raised an exception."""
        trial.set_user_attr(ERROR, traceback.format_exc()[-_MOST_TRACEBACK:])
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        if failed_before:
            trial.set_user_attr(REFUSED, reason)
            logger.warning("%s failed twice and counts as failed: %s", genotype, reason)
            logger.info("Its traceback:", exc_info=error)
        else:
            self.failed += 1
            logger.warning("%s failed, and is tried again later: %s", genotype, reason)
            logger.info("Its traceback:", exc_info=error)
        return TrialState.FAIL

    def _tell(
        self, trial: optuna.Trial, state: TrialState, values: list[float] | None = None
    ) -> None:
        try:
            self.study.tell(trial, values, state, skip_if_finished=True)
        except UpdateFinishedTrialError:
            # After a long silence, another worker took this one for dead.
            logger.info("Trial %d was ended by another worker.", trial.number)
        if ERROR in trial.user_attrs and REFUSED not in trial.user_attrs:
            enqueue(self.study, self.space, [genotype_of(self._frozen(trial), self.space)])

    def _frozen(self, trial: optuna.Trial) -> optuna.trial.FrozenTrial:
        return self.study.get_trials(deepcopy=False)[trial.number]


def _wait_for_earlier(study: optuna.Study, space: SearchSpace, number: int) -> None:
    """Wait until all earlier trials have their parameters, which are written one by one.

    Otherwise two workers that propose the same genotype at the same time would both evaluate it.
    """
    deadline = time.monotonic() + _MOST_WRITING
    while time.monotonic() < deadline:
        trials = study.get_trials(deepcopy=False, states=[TrialState.RUNNING])
        if all(t.number >= number or genotype_of(t, space) is not None for t in trials):
            return
        time.sleep(_POLL_WRITING)


def _suggest(trial: optuna.Trial, space: SearchSpace) -> Genotype:
    """Return the enqueued genotype of a trial, otherwise the proposal of the sampler."""
    enqueued = trial.user_attrs.get(ENQUEUED)
    values: dict[str, int] = {}
    for choice in space.choices:
        # A partial genotype decides on its first choices only.
        if choice.is_active(values) and (enqueued is None or choice.name in enqueued):
            values[choice.name] = trial.suggest_categorical(choice.name, choice.options)
    return space.genotype(values)


def _release_dead_trials(study: optuna.Study, space: SearchSpace, lookout: Lookout) -> None:
    """Enqueue the candidates of killed workers again."""
    for trial in lookout.find_dead(study):
        genotype = genotype_of(trial, space)
        try:
            study.tell(trial.number, state=TrialState.FAIL)
        except (ValueError, UpdateFinishedTrialError):
            continue  # another idle worker was faster
        if genotype is not None and ENQUEUED in trial.user_attrs:
            enqueue(study, space, [genotype])


def _fitness(metrics: Mapping[str, float], metric: str) -> float:
    if metrics and metric not in metrics:
        raise ValueError(
            f"SEARCH.METRIC is '{metric}', which the evaluator does not return; it returns "
            f"{', '.join(sorted(metrics))}."
        )
    return metrics.get(metric, math.nan)
