"""What the storage of a study has to do for a search, measured."""

import time
import uuid
from random import Random
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import TrialState

from crnas_d2.search.searcher import Searcher
from crnas_d2.search.steps import Step, Steps
from crnas_d2.search.study import StudySettings
from crnas_d2.search.worker import run_trial
from tools.simulation.virtual_clock import StorageLoad

_WARM_UP, _CANDIDATES, _RUNNING = 2, 4, 32  # candidates


def measure_load(url: str, searcher: Searcher) -> StorageLoad:
    """Time the operations of the first candidates of a search in a study of its own.

    They are timed once alone, and once while other candidates are running. Nothing is evaluated.
    The study is deleted afterwards.

    Raises:
        ValueError, StorageError: as :func:`crnas_d2.search.StudySettings`.
    """
    name = f"load-{uuid.uuid4().hex}"
    study = StudySettings(url, name, {"purpose": "timing of the storage"}).open(resume=False)
    try:
        _timed(study, searcher, _WARM_UP)
        alone = _timed(study, searcher, _CANDIDATES)
        _begin_others(study, searcher)
        beside = _timed(study, searcher, _CANDIDATES)
    finally:
        optuna.delete_study(study_name=name, storage=study._storage)
    operation = sum(alone) / len(alone)
    per_running = max(0.0, (sum(beside) / len(beside) - operation) / _RUNNING)
    return StorageLoad(operation, per_running, round(len(alone) / _CANDIDATES))


def _timed(study: optuna.Study, searcher: Searcher, number: int) -> list[float]:
    """Return the seconds of each operation of a few candidates."""
    storage: Any = study._storage  # a PatientStorage
    seconds: list[float] = []
    serve = storage._patiently

    def timed(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        try:
            return serve(*args, **kwargs)
        finally:
            seconds.append(time.perf_counter() - start)

    steps = Steps(study, searcher, "fitness")
    storage._patiently = timed
    try:
        for _ in range(number):
            steps.history.update()
            if steps.next() is Step.EVALUATE:
                run_trial(steps, lambda genotype: {"fitness": Random(str(genotype)).random()})
    finally:
        storage._patiently = serve
    return seconds


def _begin_others(study: optuna.Study, searcher: Searcher) -> None:
    """Add candidates that are being evaluated."""
    space, random = searcher.space, Random(0)
    for _ in range(_RUNNING):
        values = space.values(space.sample(random))
        distributions: dict[str, BaseDistribution] = {
            choice.name: CategoricalDistribution(choice.options)
            for choice in space.choices
            if choice.name in values
        }
        study.add_trial(
            optuna.create_trial(
                state=TrialState.RUNNING, params=values, distributions=distributions
            )
        )
