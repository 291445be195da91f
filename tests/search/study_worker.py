"""Toy searches of the tests beside, and one worker of them as a script."""

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import optuna
import toy

from crnas_d2.modeling.families import ResNetFamily
from crnas_d2.modeling.spaces import JointKind, OperationKind, StageKind
from crnas_d2.search import (
    EvolutionSearcher,
    ExhaustiveSearcher,
    GreedySearcher,
    RandomSearcher,
    StudySettings,
    evaluated,
    run_worker,
)
from crnas_d2.space import AdditiveCost, Budget, Genotype

SPACE = StageKind([(1, 2, 3), (1,), (2, 3), (2, 3)]).build_space(ResNetFamily(), Genotype())
OPERATIONS = OperationKind().build_space(ResNetFamily(), Genotype(depths=(1, 1, 1, 1)))
JOINT = JointKind([(1, 2), (1,), (1,), (1, 2)]).build_space(ResNetFamily(), Genotype())


def dilated_blocks(most):
    """At most so much dilation in a network of JOINT: 1 for dilation 2, 2 for dilation 3."""
    costs = {c.name: {o: o * (c.field == "ops") for o in c.options} for c in JOINT.choices}
    return [Budget(AdditiveCost("DILATION", "steps", JOINT, costs), 0, most)]


LARGE = StageKind([(1, 2, 3)] * 3 + [(1, 2)]).build_space(ResNetFamily(), Genotype())
SAMPLED = {"population": 6, "generations": 4, "seed": 3}
SEARCHES = {
    "large": ExhaustiveSearcher(LARGE),
    "stage": ExhaustiveSearcher(SPACE),
    "operation": GreedySearcher(OPERATIONS, top_k=2),
    "joint exhaustive": ExhaustiveSearcher(JOINT, dilated_blocks(1)),
    "joint evolution": EvolutionSearcher(JOINT, dilated_blocks(4), parents=3, **SAMPLED),
    "joint random": RandomSearcher(JOINT, dilated_blocks(4), **SAMPLED),
}
GENOTYPES = list(SPACE)
DESCRIPTION = {"metric": "bbox/AP", "weights": "0a1b", "archval": ["toy", 1], "budget": (8, 8)}


NO_MORE = ExhaustiveSearcher(SPACE)  # proposes nothing beside what the test has enqueued
NO_MORE.genotypes, NO_MORE.total = (), 0
MOST = 600  # seconds for what takes a few on an idle machine


def url(folder):
    return f"sqlite:///{folder}/search.db"


def begin(folder, resume=False, *, name="search", description=DESCRIPTION):
    return StudySettings(url(folder), name, description).open(resume=resume)


def fitness(genotype):
    """A different number for every genotype; a partial one counts what it has decided."""
    depths = sum(d * w for d, w in zip(genotype.depths, (1.1, 2.3, 3.7, 0.1), strict=True))
    weights = (0.7, -0.31, 0.53, -0.87, 0.173, -0.0907)
    return depths + sum(w * (op + 1) for w, op in zip(weights, genotype.ops, strict=False))


def evaluate(genotype):
    return {"bbox/AP": fitness(genotype), "bbox/AP50": 2 * fitness(genotype)}


def in_memory():
    return optuna.create_study(direction="maximize")


def work(study, evaluate=evaluate, **settings):
    """Evaluates what is enqueued."""
    run_worker(study, NO_MORE, evaluate, "bbox/AP", **settings)


def take(study, **worker):
    """A trial that a worker has begun."""
    trial = study.ask()
    for choice in SPACE.choices:
        trial.suggest_categorical(choice.name, choice.options)
    me = {"host": socket.gethostname(), "process": os.getpid(), "trial": trial.number}
    trial.set_user_attr("worker", {**me, **worker})
    return trial


def results(study, space):
    return [(c.genotype, c.fitness, c.metrics) for c in evaluated(study, space)]


def search(searcher, study=None, evaluate=evaluate, **settings):
    """The genotypes in the order in which one worker evaluates them."""
    seen = []

    def counted(genotype):
        seen.append(genotype)
        return evaluate(genotype)

    study = study or in_memory()
    run_worker(study, searcher, counted, "bbox/AP", **settings)
    return seen


@contextmanager
def workers(folder, number=1, search="stage", *, hangs_in=0, storage=None):
    """Workers in processes of their own, which begin at once and are stopped in the end.

    Each of their evaluations is a line of log.txt. The first of a worker lasts until all have one.

    Args:
        search: a key of SEARCHES.
        hangs_in: the number of the evaluation in which it waits to be killed; 0: never.
        storage: of the study; default: a file in the folder.
    """
    arguments = [str(folder), search, str(number), str(hangs_in), storage or url(folder)]
    paths = [str(toy.ROOT), str(toy.ROOT / "tests"), os.environ.get("PYTHONPATH")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, __file__, *arguments]
    processes = [subprocess.Popen(command, env=environment) for _ in range(number)]
    try:
        wait_until(lambda: len(list(folder.glob("ready-*"))) == number, processes)
        (folder / "go").touch()
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def killed_in(folder, number, search="stage"):
    """What a worker has begun when it is killed in its evaluation of that number."""
    with workers(folder, search=search, hangs_in=number) as processes:
        wait_until(lambda: len(logged(folder)) == number, processes)
    return [genotype for _, genotype in logged(folder)]


def evaluated_by_two(folder, search="stage"):
    """What two workers evaluate until the search is over; both take part."""
    with workers(folder, 2, search) as processes:
        assert [process.wait(timeout=MOST) for process in processes] == [0, 0]
    evaluations = logged(folder)
    assert {process for process, _ in evaluations} == {process.pid for process in processes}
    return [genotype for _, genotype in evaluations]


def logged(folder):
    """The process and the genotype of each evaluation so far, in order."""
    log = folder / "log.txt"
    lines = map(json.loads, log.read_text().split("\n")[:-1] if log.exists() else [])
    return [(process, Genotype(tuple(depths), tuple(ops))) for process, depths, ops in lines]


def wait_until(condition, processes=()):
    """Waits as long as it takes on a busy machine, but not for a process that has failed."""
    deadline = time.monotonic() + MOST
    while not condition():
        assert not any(process.poll() for process in processes), "a worker has failed"
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.02)


def main(folder, search, number, hangs_in, storage):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    calls = 0

    def logging_evaluate(genotype):
        nonlocal calls
        calls += 1
        with (folder / "log.txt").open("a") as log:
            log.write(json.dumps([os.getpid(), genotype.depths, genotype.ops]) + "\n")
        if calls == hangs_in:
            time.sleep(MOST)
        if calls == 1:
            wait_until(lambda: len({process for process, _ in logged(folder)}) == number)
        # Long enough for another worker to get its turn.
        time.sleep(0.3 if search == "large" else 0.02)
        return evaluate(genotype)

    study = StudySettings(storage, "search", DESCRIPTION, patience=120).open(resume=True)
    (folder / f"ready-{os.getpid()}").touch()
    while not (folder / "go").exists():  # workers that start at once get in each other's way
        time.sleep(0.001)
    run_worker(study, SEARCHES[search], logging_evaluate, "bbox/AP")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
