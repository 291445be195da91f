"""The greedy search in its study: killed, resumed, shared."""

import pytest
from study_worker import SEARCHES, begin, evaluated_by_two, killed_in, results, search

from crnas_d2.search import enqueue

SEARCHER = SEARCHES["operation"]
SPACE = SEARCHER.space


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """What a search by one worker finds, from its beginning to its end."""
    study = begin(tmp_path_factory.mktemp("uninterrupted"))
    search(SEARCHER, study)
    for trial in study.get_trials():  # which hold no more than was decided
        assert tuple(trial.params) == SPACE.names[: len(trial.params)]
    return results(study, SPACE)


def test_every_level_is_evaluated_once(uninterrupted):
    by_level = [len(genotype.ops) for genotype, _, _ in uninterrupted]
    assert [by_level.count(level) for level in range(1, 5)] == [3, 6, 6, 6]
    assert len(uninterrupted) == SEARCHER.total == 21


@pytest.mark.parametrize("hangs_in", [2, 6], ids=["first level", "second level"])
def test_killed_inside_a_level_and_resumed_equals_uninterrupted(
    study, tmp_path, uninterrupted, hangs_in
):
    before = killed_in(tmp_path, hangs_in, "operation")
    resumed = begin(tmp_path, resume=True)
    begun = before + search(SEARCHER, resumed)
    assert results(resumed, SPACE) == uninterrupted
    # Only what the kill interrupted was begun twice.
    assert sorted(begun) == sorted([*(genotype for genotype, _, _ in uninterrupted), before[-1]])


def test_two_workers_share_every_level(study, tmp_path, uninterrupted):
    seen = evaluated_by_two(tmp_path, "operation")
    assert results(study, SPACE) == uninterrupted
    assert len(set(seen)) == len(seen) == SEARCHER.total


def test_what_two_workers_have_proposed_at_once_is_evaluated_once(study):
    first, *others = SEARCHER.propose([])
    enqueue(study, SPACE, [first, *others])
    values = SPACE.values(first, partial=True)
    study.enqueue_trial(values, user_attrs={"enqueued": values})
    seen = search(SEARCHER, study)
    assert len(seen) == len(set(seen)) == SEARCHER.total
