"""What a worker keeps of its study: the same as a walk over all trials, in few transactions."""

from itertools import islice
from random import Random

import pytest
import sqlalchemy
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from study_worker import JOINT, SEARCHES, SPACE, begin, dilated_blocks, evaluate, url

from crnas_d2.search import (
    EvolutionSearcher,
    ExhaustiveSearcher,
    History,
    StudySettings,
    enqueue,
    history,
    run_worker,
)
from crnas_d2.search.candidates import candidate_of, genotype_of, has_result, is_taken_care_of
from crnas_d2.search.steps import Step, Steps

GENERATION = "EvolutionSampler:generation"


def plain_walk(searcher, trials, selected):
    """The next candidate of an evolution, from all trials of its study."""
    sampler, space = searcher.sampler, searcher.space
    alive = [t for t in trials if is_taken_care_of(t)]
    known = {genotype_of(t, space) for t in alive}
    scored = [t for t in alive if t.state == TrialState.COMPLETE]
    generation = 0
    while sum(t.system_attrs[GENERATION] == generation for t in scored) >= sampler.size:
        generation += 1
    born = sum(
        t.system_attrs[GENERATION] == generation
        for t in alive
        if t.state in (TrialState.COMPLETE, TrialState.RUNNING)
    )
    before = [t for t in scored if t.system_attrs[GENERATION] < generation]
    before.sort(key=lambda t: (-t.value, genotype_of(t, space), t.number))
    parents = sorted(genotype_of(t, space) for t in before[: sampler.num_parents])
    # What ends late, when the next generation has begun, changes its parents no more.
    parents = selected.setdefault(generation, tuple(parents))
    attempts = sampler._propose(generation, parents, born < sampler.num_mutations)
    return next(g for g, is_feasible in attempts if is_feasible and g not in known)


def fails(genotype):
    return Random(f"fails {genotype}").random() < 0.15


def score(genotype):
    return {} if fails(genotype) else evaluate(genotype)


def open_study(folder, kind, name="search"):
    place = url(folder) if kind == "sqlite" else str(folder / "journal.log")
    return StudySettings(place, name, {}).open(resume=True)


@pytest.mark.parametrize("kind, seed", [("sqlite", 0), ("sqlite", 1), ("journal", 2)])
def test_workers_that_come_and_go_propose_what_a_walk_over_all_trials_does(
    tmp_path, monkeypatch, kind, seed
):
    monkeypatch.setattr(history, "_PAUSE", 0)  # otherwise a worker knows a little less
    budgets = dilated_blocks(4)
    searcher = EvolutionSearcher(JOINT, budgets, parents=3, population=6, generations=4, seed=seed)
    study, random = open_study(tmp_path, kind), Random(seed)

    def new_worker():
        own = EvolutionSearcher(JOINT, budgets, parents=3, population=6, generations=4, seed=seed)
        return Steps(open_study(tmp_path, kind), own, "bbox/AP", stops_early=False)

    steps, begun = [new_worker() for _ in range(3)], [None] * 3
    num_begun, num_new, selected = 0, 0, {}
    while True:
        place = random.randrange(3)
        worker = steps[place]
        if begun[place] is not None:
            worker.end(begun[place], worker.judge(begun[place], score(begun[place].genotype)))
            begun[place] = None
        if random.random() < 0.2:
            worker = steps[place] = new_worker()
            num_new += 1
        worker.history.update()
        step = worker.next()
        if step is Step.END:
            break
        if step is Step.EVALUATE:
            expected = plain_walk(searcher, study.get_trials(deepcopy=False), selected)
            begun[place] = worker.begin()
            assert begun[place].genotype == expected
            num_begun += 1
    scored = [t for t in study.trials if t.state == TrialState.COMPLETE]
    assert len(scored) == 24 < num_begun and num_new > 3
    # One who reads all trials at the end knows the same as one who read them bit by bit.
    late = History(study, JOINT)
    assert list(late.candidates) == list(worker.history.candidates)
    assert {t.number for t, _ in late.finished} == {t.number for t, _ in worker.history.finished}
    last = {}
    for trial in filter(has_result, study.trials):
        genotype = genotype_of(trial, JOINT)
        last[genotype] = candidate_of(trial, genotype)
    rank = lambda c: (c.fitness is None, -(c.fitness or 0.0), c.genotype)  # noqa: E731
    assert list(late.candidates) == sorted(last.values(), key=rank)


@pytest.mark.parametrize("name", ["stage", "operation", "joint evolution"])
def test_optuna_reads_the_trials_of_a_database_as_they_are_read_here(tmp_path, name):
    study = begin(tmp_path)
    run_worker(study, SEARCHES[name], score, "bbox/AP")
    other = RDBStorage(url(tmp_path))
    theirs, ours = other.get_all_trials(study._study_id), study.trials
    assert len(ours) > 10 and theirs == ours
    assert [t.number for t in ours] == list(range(len(ours)))
    assert all(t.duration.total_seconds() >= 0 for t in ours)


@pytest.mark.parametrize("name, most", [("stage", 5), ("joint evolution", 5)])
def test_a_candidate_takes_few_transactions(tmp_path, name, most):
    study, seen, transactions = begin(tmp_path), [], []
    engine = study._storage._backend._backend.engine
    sqlalchemy.event.listen(engine, "begin", lambda _: transactions.append(1))

    def counted(genotype):
        seen.append(len(transactions))
        return evaluate(genotype)

    run_worker(study, SEARCHES[name], counted, "bbox/AP")
    assert len(seen) > 8 and seen[-1] - seen[0] <= most * (len(seen) - 1)


def test_a_list_of_candidates_takes_one_transaction_that_writes(tmp_path):
    study, transactions = begin(tmp_path), []
    engine = study._storage._backend._backend.engine
    sqlalchemy.event.listen(engine, "begin", lambda _: transactions.append(1))
    enqueue(study, JOINT, islice(JOINT, 40))
    assert len(transactions) <= 4 and len(study.trials) == 40


def test_a_candidate_that_two_workers_want_is_begun_once(tmp_path):
    kinds = ("sqlite", "journal")
    for kind in kinds:
        first, second = (History(open_study(tmp_path, kind), SPACE) for _ in range(2))
        enqueue(first.study, SPACE, islice(SPACE, 1))
        first.update()
        second.read([])
        [trial], [same] = first.waiting, second.waiting
        assert first.claim(trial) and not second.claim(same)
        assert first.mine and not second.mine and second.running and not second.waiting


def test_an_exhaustive_search_lists_what_is_left_without_a_walk_over_what_is_done(tmp_path):
    searcher = ExhaustiveSearcher(SPACE)
    study = begin(tmp_path)
    run_worker(study, searcher, evaluate, "bbox/AP")
    known = History(study, SPACE)
    assert list(searcher.propose(known.candidates)) == []
    looked = [g for g in searcher.genotypes if g in known.candidates.by_genotype]
    assert looked == list(SPACE) == list(searcher.genotypes)
    some = list(known.candidates)[:4]
    left = set(SPACE) - {candidate.genotype for candidate in some}
    assert set(searcher.propose(some)) == left
