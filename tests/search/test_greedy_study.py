"""The greedy search in its study: killed, resumed, shared."""

import pytest
from study_worker import SEARCHES, begin, evaluate, evaluated_by_two, killed_in

from crnas_d2.search import enqueue, evaluated, run_worker

SEARCHER = SEARCHES["operation"]
SPACE = SEARCHER.space


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """What a search by one worker finds, from its beginning to its end."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    study = begin(folder)
    run_worker(study, SEARCHER, evaluate, "bbox/AP")
    return results(study)


def results(study):
    return [(c.genotype, c.fitness, c.metrics) for c in evaluated(study, SPACE)]


def test_every_level_is_evaluated_once(uninterrupted):
    by_level = [len(genotype.ops) for genotype, _, _ in uninterrupted]
    assert [by_level.count(level) for level in range(1, 5)] == [3, 6, 6, 6]
    assert len(uninterrupted) == SEARCHER.total == 21


def test_a_study_holds_no_more_parameters_than_were_decided(study):
    run_worker(study, SEARCHER, evaluate, "bbox/AP")
    for trial in study.get_trials():
        assert tuple(trial.params) == SPACE.names[: len(trial.params)]


@pytest.mark.parametrize("hangs_in", [2, 6], ids=["first level", "second level"])
def test_killed_inside_a_level_and_resumed_equals_uninterrupted(
    study, tmp_path, uninterrupted, hangs_in
):
    before = killed_in(tmp_path, hangs_in, "operation")

    begun = list(before)
    resumed = begin(tmp_path, resume=True)

    def counted(genotype):
        begun.append(genotype)
        return evaluate(genotype)

    run_worker(resumed, SEARCHER, counted, "bbox/AP")
    assert results(resumed) == uninterrupted
    # Only what the kill interrupted was begun twice.
    assert sorted(begun) == sorted([*(genotype for genotype, _, _ in uninterrupted), before[-1]])


def test_two_workers_share_every_level(study, tmp_path, uninterrupted):
    seen = evaluated_by_two(tmp_path, "operation")
    assert results(study) == uninterrupted
    assert len(set(seen)) == len(seen) == SEARCHER.total


def test_what_two_workers_have_proposed_at_once_is_evaluated_once(study):
    first, *others = SEARCHER.propose([])
    enqueue(study, SPACE, [first, *others])
    values = SPACE.values(first, partial=True)
    study.enqueue_trial(values, user_attrs={"enqueued": values})
    seen = []

    def counted(genotype):
        seen.append(genotype)
        return evaluate(genotype)

    run_worker(study, SEARCHER, counted, "bbox/AP")
    assert len(seen) == len(set(seen)) == SEARCHER.total
