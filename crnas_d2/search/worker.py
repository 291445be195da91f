"""A worker: takes one waiting candidate after another from the study, and evaluates it."""

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
_CLAIM = timedelta(seconds=60)  # a worker names itself in its trial well within this time
# Seconds for a worker to write down what it proposes, and between two looks at it; a worker that
# takes longer is dead.
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
    """Evaluate what the searcher proposes, beside other workers, until the search is over.

    A result that is missing or not finite makes a failed candidate. An exception ends the
    worker; its candidate is taken up again by the next ``--resume``.

    Args:
        evaluate: from a genotype to its metrics.
        metric: the key of the fitness among them; higher is better.
        after_candidate: called after each evaluation and while waiting for others.
        second_objective: from a genotype to what is minimized beside the fitness, where the
            study has two objectives.

    Raises:
        ValueError: a metric that the evaluator does not give; a sampler that proposes nothing new.
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
        _wait_for_earlier(study, space, trial.number)
        if is_duplicate(study, space, trial.number) or not searcher.is_feasible(genotype):
            passed_over += 1
            if passed_over == _MOST_PASSED_OVER:
                raise ValueError(
                    f"{_MOST_PASSED_OVER} proposals of {type(study.sampler).__name__} in a row "
                    "are duplicates or infeasible within SEARCH.BUDGET. Evaluate fewer candidates, "
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
            fitness = math.nan  # Optuna's word for a failure; it would take an infinity for a value
        return fitness if second_objective is None else (fitness, second_objective(genotype))

    while True:
        # First of all: what a dead worker holds would be known to a sampler, and passed over.
        _release_dead_trials(study, space)
        states = [trial.state for trial in study.get_trials(deepcopy=False)]
        running = states.count(TrialState.RUNNING)
        if TrialState.WAITING in states or searcher.may_ask(evaluated(study, space), running):
            study.optimize(objective, n_trials=1)
        elif running:  # the next proposals depend on what other workers still evaluate
            time.sleep(_POLL)
        else:
            proposed = searcher.propose(evaluated(study, space))
            if not proposed:
                return
            enqueue(study, space, proposed)
        after_candidate()


def _wait_for_earlier(study: optuna.Study, space: SearchSpace, number: int) -> None:
    """Wait until all earlier trials have their parameters, which are written one by one.

    Otherwise two workers that propose one genotype at the same time would both evaluate it.
    """
    deadline = time.monotonic() + _MOST_WRITING
    while time.monotonic() < deadline:
        trials = study.get_trials(deepcopy=False, states=[TrialState.RUNNING])
        if all(t.number >= number or genotype_of(t, space) is not None for t in trials):
            return
        time.sleep(_POLL_WRITING)


def _suggest(trial: optuna.Trial, space: SearchSpace) -> Genotype:
    """What was enqueued for a trial, else what the sampler proposes."""
    enqueued = trial.user_attrs.get(ENQUEUED)
    values: dict[str, int] = {}
    for choice in space.choices:
        # A partial genotype decides on its first choices only.
        if choice.is_active(values) and (enqueued is None or choice.name in enqueued):
            values[choice.name] = trial.suggest_categorical(choice.name, choice.options)
    return space.genotype(values)


def _release_dead_trials(study: optuna.Study, space: SearchSpace) -> None:
    """Put back the candidates of killed workers."""
    # Workers of other machines are known by their heartbeat, those of this one at once.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)
    for trial in study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
        if _is_dead(trial):
            genotype = genotype_of(trial, space)
            try:
                study.tell(trial.number, state=TrialState.FAIL)
            except (ValueError, optuna.exceptions.UpdateFinishedTrialError):
                continue  # another idle worker was faster, and has put it back
            if genotype is not None and ENQUEUED in trial.user_attrs:
                enqueue(study, space, [genotype])


def _fitness(metrics: Mapping[str, float], metric: str) -> float:
    if metrics and metric not in metrics:
        raise ValueError(
            f"SEARCH.METRIC is '{metric}', which the evaluator does not give; it gives "
            f"{', '.join(sorted(metrics))}."
        )
    return metrics.get(metric, math.nan)


def _me(trial_number: int) -> dict:
    return {"host": socket.gethostname(), "process": os.getpid(), "trial": trial_number}


def _is_dead(trial: FrozenTrial) -> bool:
    worker = trial.user_attrs.get(WORKER)
    # A candidate that is tried again brings the name of the worker that lost it.
    if worker is None or worker["trial"] != trial.number:
        return datetime.now() - trial.datetime_start > _CLAIM
    if worker["host"] != socket.gethostname():
        return False
    if worker["process"] == os.getpid():
        return True  # this worker is idle: an earlier process had its number
    try:
        os.kill(worker["process"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False
