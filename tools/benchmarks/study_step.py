"""See :func:`study_step`."""

import itertools
import tempfile
import time
from contextlib import suppress
from datetime import datetime
from random import Random

from ._sides import Table

FINISHED = (1_000, 10_000, 100_000)  # candidates in the study
STEPS = 48  # that are timed, after as many that are not
_BATCH = 2_000  # candidates that are inserted at a time


def study_step(device: str, repeats: int, size: tuple[int, int] | None) -> tuple[list, dict]:
    """CPU milliseconds of a search per candidate, without its evaluation, by finished candidates.

    A worker goes on with a study in an SQLite file. A step is all from one evaluation to the next:
    what is told, read, proposed and written. CPU time of the process, user and system. Repetitions
    are sizes of the study, the smallest first.
    """
    rows = []
    for name, finished in itertools.product(SEARCHES, FINISHED[: repeats or None]):
        begin = time.process_time()
        with tempfile.TemporaryDirectory(prefix="crnas_d2-study-") as folder:
            try:
                step, load, operations = measure(name, finished, folder)
            except ValueError as error:
                step = load = operations = None
                print(f"{name}, {finished:,} finished: {error}")
        rows.append(
            {
                "search": name,
                "finished candidates": finished,
                "ms per step": step,
                "operations per step": operations,
                "s to load the study": load,
            }
        )
        print(rows[-1], f"{time.process_time() - begin:.0f} s", flush=True)
    steps = {f"{row['search']}_{row['finished candidates']}": row["ms per step"] for row in rows}
    return rows, {"size": "studies of 1,000 to 100,000 candidates", **steps}


def space(blocks: int):
    from crnas_d2.space import Choice, SearchSpace

    names = (f"block{block}.op" for block in range(blocks))
    choices = tuple(Choice(name, (0, 1, 2, 3), field="ops") for name in names)
    return SearchSpace("operation", choices)


def exhaustive(finished: int):
    from crnas_d2.search import ExhaustiveSearcher

    return ExhaustiveSearcher(space(8 if finished < 50_000 else 9))


def evolution(finished: int):
    from crnas_d2.search import EvolutionSearcher

    return EvolutionSearcher(space(16), population=50, generations=10_000)


def random(finished: int):
    from crnas_d2.search import RandomSearcher

    return RandomSearcher(space(16), population=finished, generations=2)


SEARCHES = {search.__name__: search for search in (exhaustive, evolution, random)}


def measure(name: str, finished: int, folder: str) -> tuple[float, float, float]:
    """Return the milliseconds of a step, the seconds of the first one, and its operations."""
    import optuna
    from sqlalchemy import event

    from crnas_d2.search import StudySettings, run_worker

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    searcher = SEARCHES[name](finished)
    settings = StudySettings(f"sqlite:///{folder}/search.db", "search", {"timing": name})
    study = settings.open(resume=False)
    fill(study, candidates(name, searcher, finished))
    study = settings.open(resume=True)
    times: list[float] = []
    transactions: list[int] = []
    count = 0

    def began(_connection) -> None:
        nonlocal count
        count += 1

    event.listen(study._storage._backend._backend.engine, "begin", began)

    class Over(BaseException):
        """Ends the worker."""

    def evaluate(genotype):
        times.append(time.process_time())
        transactions.append(count)
        if len(times) > 2 * STEPS:
            raise Over
        return {"fitness": Random(str(genotype)).random()}

    begin = time.process_time()
    with suppress(Over):
        run_worker(study, searcher, evaluate, "fitness", stops_early=False)
    steps = 1e3 * (times[-1] - times[STEPS]) / STEPS
    return steps, times[0] - begin, (transactions[-1] - transactions[STEPS]) / STEPS


def candidates(name: str, searcher, finished: int):
    """Yield the first candidates of a search, with the attributes of their trials."""
    space, seed = searcher.space, 0
    enqueued = name == "exhaustive"
    if enqueued:
        genotypes = iter(searcher.genotypes)
    else:
        draws = (space.sample(Random(f"{seed}/0/random/{i}")) for i in itertools.count())
        genotypes = iter(dict.fromkeys(itertools.islice(draws, finished + finished // 10)))
    for number, genotype in enumerate(itertools.islice(genotypes, finished)):
        values = space.values(genotype)
        generation = {}
        if not enqueued:
            born = number // searcher.population if name == "evolution" else 0
            generation = {"EvolutionSampler:generation": born}
        user = {"enqueued": values} if enqueued else {}
        user |= {"worker": {"host": "another", "process": 1, "trial": number}}
        user |= {"metrics": {"fitness": Random(str(genotype)).random()}}
        yield values, user, generation


def fill(study, found) -> None:
    """Add finished trials, as quickly as the database takes them."""
    import json

    from optuna.distributions import CategoricalDistribution, distribution_to_json
    from optuna.storages._rdb import models
    from optuna.trial import TrialState
    from sqlalchemy import insert

    engine = study._storage._backend._backend.engine
    kind = distribution_to_json(CategoricalDistribution((0, 1, 2, 3)))
    now = datetime.now()
    numbers = itertools.count()
    with engine.begin() as connection:
        while batch := list(itertools.islice(found, _BATCH)):
            trials, params, values, users, systems = [], [], [], [], []
            for options, user, system in batch:
                number = next(numbers)
                key = {"trial_id": number + 1}
                trials.append(
                    key
                    | {"number": number, "study_id": study._study_id, "state": TrialState.COMPLETE}
                    | {"datetime_start": now, "datetime_complete": now}
                )
                values.append(
                    key
                    | {"objective": 0, "value": user["metrics"]["fitness"]}
                    | {"value_type": models.TrialValueModel.TrialValueType.FINITE}
                )
                params += [
                    key | {"param_name": n, "param_value": float(v), "distribution_json": kind}
                    for n, v in options.items()
                ]
                users += [key | {"key": k, "value_json": json.dumps(v)} for k, v in user.items()]
                systems += [
                    key | {"key": k, "value_json": json.dumps(v)} for k, v in system.items()
                ]
            for model, entries in (
                (models.TrialModel, trials),
                (models.TrialParamModel, params),
                (models.TrialValueModel, values),
                (models.TrialUserAttributeModel, users),
                (models.TrialSystemAttributeModel, systems),
            ):
                if entries:
                    connection.execute(insert(model), entries)


BENCHMARK = Table(study_step, repeats=3)
