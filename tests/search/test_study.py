import math
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from optuna.trial import TrialState
from study_worker import (
    DESCRIPTION,
    GENOTYPES,
    NO_MORE,
    SPACE,
    begin,
    evaluate,
    evaluated_by_two,
    fitness,
    killed_in,
    results,
    take,
    work,
)

from crnas_d2.search import enqueue, evaluated, run_worker


class Counted:
    """An evaluation that remembers its calls, and fails as it is told."""

    def __init__(self, metrics=evaluate, broken_at=None, failures=10):
        self.metrics, self.broken_at, self.failures = metrics, broken_at, failures
        self.calls = []

    def __call__(self, genotype):
        self.calls.append(genotype)
        if genotype == self.broken_at and self.calls.count(genotype) <= self.failures:
            raise OSError("the disk is full")
        return self.metrics(genotype)


def test_every_candidate_is_evaluated_once_and_the_best_comes_first(study):
    counted = Counted()
    enqueue(study, SPACE, GENOTYPES)
    work(study, counted)
    assert sorted(counted.calls) == sorted(GENOTYPES) and len(counted.calls) == len(GENOTYPES)
    candidates = evaluated(study, SPACE)
    assert [c.genotype for c in candidates] == sorted(GENOTYPES, key=fitness, reverse=True)
    for candidate in candidates:
        assert candidate.fitness == fitness(candidate.genotype)  # to the last bit
        assert candidate.metrics == evaluate(candidate.genotype)


def test_only_what_is_new_is_evaluated(study):
    counted = Counted()
    for _ in range(2):  # while they wait
        enqueue(study, SPACE, GENOTYPES[:5])
    work(study, counted)
    enqueue(study, SPACE, GENOTYPES[3:8])  # when some are done
    work(study, counted)
    assert sorted(counted.calls) == sorted(GENOTYPES[:8])


def test_equal_fitness_is_ordered_by_genotype(study):
    enqueue(study, SPACE, GENOTYPES[::-1])
    work(study, lambda genotype: {"bbox/AP": 1.0})
    assert [c.genotype for c in evaluated(study, SPACE)] == sorted(GENOTYPES)


def test_after_each_candidate_the_caller_is_told(study):
    done = []
    enqueue(study, SPACE, GENOTYPES[:4])
    work(study, evaluate, after_candidate=lambda candidates: done.append(len(candidates)))
    assert done == [1, 2, 3, 4]


def test_an_existing_study_needs_resume_and_without_one_it_begins_one(tmp_path):
    assert evaluated(begin(tmp_path, resume=True), SPACE) == []
    with pytest.raises(ValueError, match=r"'search' in /.*search\.db exists already.*--resume"):
        begin(tmp_path)
    begin(tmp_path, resume=True)
    begin(tmp_path, name="another")


def test_what_another_process_is_at_work_on_is_not_begun_anew(study, tmp_path):
    enqueue(study, SPACE, GENOTYPES[:3])
    for _ in range(2):  # listed; then its first candidate has failed
        with pytest.raises(ValueError, match="exists already"):
            begin(tmp_path)
        study.set_user_attr("started by", {"host": "another machine", "process": os.getpid()})
        study.tell(study.ask(), state=TrialState.FAIL)
    assert len(study.get_trials(states=[TrialState.WAITING])) == 1
    alive = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        study.set_user_attr("started by", {"host": socket.gethostname(), "process": alive.pid})
        with pytest.raises(ValueError, match="exists already"):
            begin(tmp_path)
    finally:
        alive.kill()
        alive.wait()
    assert begin(tmp_path).trials == []


@pytest.mark.slow
def test_of_three_starts_at_one_moment_one_begins_and_two_are_told(tmp_path):
    """None of them may end in a traceback, or delete what another one has listed."""
    script = (
        "import sys; from study_worker import *; from crnas_d2.search import enqueue\n"
        "try: study = begin(sys.argv[1])\n"
        "except ValueError as error: sys.exit(f'told: {error}')\n"
        "enqueue(study, SPACE, GENOTYPES[:4]); time.sleep(2); work(study)\n"
        "print(len(evaluated(study, SPACE)))"
    )
    tests = str(Path(__file__).parents[1])
    paths = os.pathsep.join([str(Path(__file__).parent), tests, os.environ.get("PYTHONPATH", "")])
    settings = {"text": True, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [sys.executable, "-c", script, str(tmp_path)]
    processes = [
        subprocess.Popen(command, env={**os.environ, "PYTHONPATH": paths}, **settings)
        for _ in range(3)
    ]
    ends = [(process.communicate(), process.returncode) for process in processes]
    assert sorted(code for _, code in ends) == [0, 1, 1]
    for (output, errors), code in ends:
        if code:
            assert errors.splitlines()[-1].startswith("told: "), errors
            assert "exists already" in errors and "Traceback" not in errors, errors
        else:
            assert output == "4\n"


def test_another_search_is_refused_with_what_differs(study, tmp_path):
    other = {**DESCRIPTION, "weights": "ffff", "budget": (9, 9)}
    with pytest.raises(ValueError) as error:
        begin(tmp_path, True, description=other)
    message = str(error.value)
    assert "'0a1b'" in message and "'ffff'" in message and "[8, 8]" in message
    assert "metric" not in message and "archval" not in message


NO_FITNESS = [{"bbox/AP": value} for value in (math.nan, math.inf, -math.inf)] + [{}]


@pytest.mark.parametrize("metrics", NO_FITNESS, ids=["nan", "inf", "-inf", "none at all"])
def test_a_candidate_without_a_finite_fitness_fails_once_and_never_wins(study, metrics):
    bad = GENOTYPES[2]
    counted = Counted(lambda genotype: metrics if genotype == bad else {"bbox/AP": -5.0})
    for _ in range(2):  # the second round stands for a resumed search
        enqueue(study, SPACE, GENOTYPES[:4])
        work(study, counted)
    assert len(counted.calls) == 4
    *others, last = evaluated(study, SPACE)
    assert last.genotype == bad and last.fitness is None
    assert [candidate.fitness for candidate in others] == [-5.0] * 3


def test_a_search_may_go_on_although_its_first_networks_detect_nothing(study):
    good = GENOTYPES[6]

    def evaluate(genotype):
        return {"bbox/AP": 7.0 if genotype == good else math.nan}

    enqueue(study, SPACE, GENOTYPES[:7])
    with pytest.raises(ValueError, match="None of the first 5 candidates"):
        work(study, evaluate)
    work(study, evaluate, stops_early=False)
    assert evaluated(study, SPACE)[0].genotype == good


def test_other_metrics_that_are_not_finite_are_left_out_and_an_unknown_one_is_an_error(study):
    enqueue(study, SPACE, GENOTYPES[:1])
    work(study, lambda g: {"bbox/AP": 3.0, "bbox/APl": math.nan})
    assert evaluated(study, SPACE)[0].metrics == {"bbox/AP": 3.0}
    enqueue(study, SPACE, GENOTYPES[1:2])
    with pytest.raises(ValueError, match=r"'segm/AP'.*bbox/AP, bbox/AP50"):
        run_worker(study, NO_MORE, evaluate, "segm/AP")


def test_a_candidate_that_fails_once_is_evaluated_again(study):
    counted = Counted(broken_at=GENOTYPES[3], failures=1)
    enqueue(study, SPACE, GENOTYPES)
    work(study, counted)
    assert sorted(counted.calls) == sorted([*GENOTYPES, GENOTYPES[3]])
    scored = [c.genotype for c in evaluated(study, SPACE) if c.fitness is not None]
    assert sorted(scored) == sorted(GENOTYPES)


def test_a_candidate_that_fails_twice_counts_as_failed_with_its_traceback(study, tmp_path):
    broken = GENOTYPES[3]
    counted = Counted(broken_at=broken)
    enqueue(study, SPACE, GENOTYPES)
    for _ in range(2):  # the second round stands for a resumed search
        work(study, counted)
        enqueue(study, SPACE, GENOTYPES)
    assert sorted(counted.calls) == sorted([*GENOTYPES, broken])
    *others, last = evaluated(study, SPACE)
    assert all(candidate.fitness is not None for candidate in others)
    assert (last.genotype, last.fitness) == (broken, None)
    assert last.failure == "OSError: the disk is full"
    (trial,) = [trial for trial in study.trials if "refused" in trial.user_attrs]
    assert "in __call__" in trial.user_attrs["error"]
    assert trial.user_attrs["error"].endswith("OSError: the disk is full\n")


def test_a_worker_with_which_everything_fails_stops_and_loses_nothing(study, tmp_path):
    enqueue(study, SPACE, GENOTYPES)

    def broken(genotype):
        raise RuntimeError("the driver is gone")

    with pytest.raises(ValueError, match=r"5 candidates in a row failed.*the driver is gone"):
        work(study, broken)
    assert evaluated(study, SPACE) == []
    resumed = begin(tmp_path, resume=True)
    work(resumed, evaluate)
    assert {c.genotype for c in evaluated(resumed, SPACE)} == set(GENOTYPES)


def test_two_idle_workers_may_find_the_same_dead_one(study, tmp_path, monkeypatch):
    enqueue(study, SPACE, GENOTYPES[:1])
    no_process = 2**22 + 1  # above the greatest number that Linux gives
    take(study, process=no_process)
    counted = Counted()

    def kill(process, signal):
        assert process == no_process
        monkeypatch.undo()
        work(begin(tmp_path, resume=True), counted)
        raise ProcessLookupError

    # The other one takes its turn just when this one has seen that the worker is dead.
    monkeypatch.setattr(os, "kill", kill)
    work(study, counted)
    assert counted.calls == GENOTYPES[:1]
    assert [c.genotype for c in evaluated(study, SPACE)] == GENOTYPES[:1]


def test_a_killed_search_ends_as_an_uninterrupted_one(study, tmp_path):
    enqueue(study, SPACE, GENOTYPES)
    before = killed_in(tmp_path, 5)
    counted, found = Counted(), []
    for opened in (begin(tmp_path, resume=True), begin(tmp_path, name="uninterrupted")):
        enqueue(opened, SPACE, GENOTYPES)
        work(opened, counted)
        found.append(results(opened, SPACE))
    # Only what the kill interrupted was begun twice.
    assert sorted(before + counted.calls) == sorted([*GENOTYPES, before[-1], *GENOTYPES])
    assert found[0] == found[1]


def test_two_workers_share_a_study_without_evaluating_anything_twice(study, tmp_path):
    enqueue(study, SPACE, GENOTYPES)
    seen = evaluated_by_two(tmp_path)
    assert sorted(seen) == sorted(GENOTYPES)
    assert {c.genotype for c in evaluated(study, SPACE)} == set(GENOTYPES)
