"""A worker: takes one candidate after another from the study, and evaluates it."""

import logging
import math
import os
import socket
import time
import warnings
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import optuna
from optuna.trial import FrozenTrial, TrialState

from crnas_d2.space import Genotype, SearchSpace

from .candidates import (
    ENQUEUED,
    METRICS,
    REFUSED,
    WORKER,
    enqueue,
    evaluated,
    genotype_of,
    is_duplicate,
)
from .searcher import Searcher

__all__ = ["run_worker"]

logger = logging.getLogger(__name__)

_POLL = 1.0  # seconds between two looks at the candidates of other workers
_CLAIM = timedelta(seconds=60)  # a live worker names itself in its trial well before
# Seconds that a worker has to write its proposal, after which it counts as dead; and seconds
# between two looks at it.
_MOST_WRITING, _POLL_WRITING = 5.0, 0.05
_MOST_PASSED_OVER = 1_000


def run_worker(
    study: optuna.Study,
    space: SearchSpace,
    searcher: Searcher,
    evaluate: Callable[[Genotype], Mapping[str, float]],
    metric: str,
    after_candidate: Callable[[], None] = lambda: None,
    second_objective: Callable[[Genotype], float] | None = None,
) -> None:
    """Evaluate what the searcher proposes, along with other workers, until the search is over.

    A candidate fails if its fitness is missing or not finite. An exception ends the worker; the
    next ``--resume`` evaluates its candidate again.

    Args:
        evaluate: returns the metrics of a genotype.
        metric: the key of the fitness among them; higher is better.
        after_candidate: called after each evaluation and while waiting for others.
        second_objective: returns the cost to minimize of a genotype, if the study has two
            objectives.

    Raises:
        ValueError: the evaluator lacks the metric, or the sampler proposes nothing new.
    """
    if searcher.sampler is not None:
        study.sampler = searcher.sampler
    passed_over = 0

    def objective(trial: optuna.Trial) -> float | tuple[float, float]:
        nonlocal passed_over
        trial.set_user_attr(WORKER, _me(trial.number))
        if ENQUEUED not in trial.user_attrs and searcher.sampler is None:
            raise optuna.TrialPruned("another worker took the last waiting candidate")
        genotype = _suggest(trial, space)
        # Of several trials of one genotype, the earliest is evaluated.
        _wait_for_earlier(study, space, trial.number)
        if is_duplicate(study, space, trial.number) or not searcher.is_feasible(genotype):
            passed_over += 1
            if passed_over == _MOST_PASSED_OVER:
                raise ValueError(
                    f"{_MOST_PASSED_OVER} proposals of {type(study.sampler).__name__} in a row "
                    "are duplicates or infeasible under SEARCH.BUDGET. Evaluate fewer candidates, "
                    "widen the budget, or use SEARCH.ALGORITHM 'evolution' or 'random'."
                )
            raise optuna.TrialPruned("a duplicate, or infeasible")
        passed_over = 0
        metrics = dict(evaluate(genotype))
        fitness = _fitness(metrics, metric)
        finite = {key: value for key, value in metrics.items() if math.isfinite(value)}
        trial.set_user_attr(METRICS, finite)
        logger.info("%s: %s = %s", genotype, metric, fitness)
        if not math.isfinite(fitness):
            trial.set_user_attr(REFUSED, f"{metric} is {fitness}")
            fitness = math.nan  # a failed trial for Optuna, which takes infinity for a value
        return fitness if second_objective is None else (fitness, second_objective(genotype))

    while True:
        # First, because a sampler would skip the candidate of a dead worker as a duplicate.
        _release_dead_trials(study, space)
        states = [trial.state for trial in study.get_trials(deepcopy=False)]
        running = states.count(TrialState.RUNNING)
        # Enqueued candidates come first. Without one, the sampler proposes.
        if TrialState.WAITING in states or searcher.may_ask(evaluated(study, space), running):
            study.optimize(objective, n_trials=1)
        elif running:  # the next proposals depend on the results of other workers
            time.sleep(_POLL)
        else:
            proposed = searcher.propose(evaluated(study, space))
            if not proposed:
                return
            enqueue(study, space, proposed)
        after_candidate()


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


def _release_dead_trials(study: optuna.Study, space: SearchSpace) -> None:
    """Enqueue the candidates of killed workers again."""
    # Dead workers on other machines are found by their heartbeat, those on this one by process id.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)
    for trial in study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
        if _is_dead(trial):
            genotype = genotype_of(trial, space)
            try:
                study.tell(trial.number, state=TrialState.FAIL)
            except (ValueError, optuna.exceptions.UpdateFinishedTrialError):
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


def _me(trial_number: int) -> dict:
    return {"host": socket.gethostname(), "process": os.getpid(), "trial": trial_number}


def _is_dead(trial: FrozenTrial) -> bool:
    worker = trial.user_attrs.get(WORKER)
    # A retried trial copies the attributes of the first try, with the name of the dead worker.
    if worker is None or worker["trial"] != trial.number:
        return datetime.now() - trial.datetime_start > _CLAIM
    if worker["host"] != socket.gethostname():
        return False
    if worker["process"] == os.getpid():
        return True  # this worker is idle, so an earlier process had the same id
    try:
        os.kill(worker["process"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False
