"""What workers do at the end of a wave: the same candidates in any order, and little waiting."""

import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crnas_d2.search import EvolutionSearcher, ExhaustiveSearcher, GreedySearcher, RandomSearcher
from crnas_d2.search.worker import pause_after
from crnas_d2.space import Choice, SearchSpace
from tools.simulation.virtual_clock import StorageLoad, simulate


def space(blocks, options):
    ops = tuple(range(options))
    choices = tuple(Choice(f"block{i}.op", ops, field="ops") for i in range(blocks))
    return SearchSpace("operation", choices)


def random_number(seed, genotype):
    return Random(f"{seed}/{genotype}").random()


def chance(genotype):
    return random_number(0, genotype)


def second(genotype):
    return 1.0


def results(simulated):
    return [(c.genotype, c.fitness) for c in simulated.candidates]


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    num_workers=st.integers(2, 12),
    top_k=st.integers(1, 4),
    values=st.integers(2, 50),
    failing=st.sampled_from([0.0, 0.2]),
)
def test_greedy_scores_the_same_candidates_in_any_order_of_completion(
    seed, num_workers, top_k, values, failing
):
    def fitness(genotype):  # with ties, and candidates that fail
        if random_number(f"{seed}/fails", genotype) < failing and genotype.ops[-1]:
            return math.nan
        return float(int(values * random_number(seed, genotype)))

    def seconds(genotype):
        return 0.1 + 10 * random_number(f"{seed}/seconds", genotype)

    searcher = GreedySearcher(space(4, 3), top_k=top_k)
    alone = simulate(searcher, 1, fitness, seconds)
    together = simulate(searcher, num_workers, fitness, seconds)
    assert results(together) == results(alone)
    assert together.seconds <= alone.seconds + 1


class Waiting(GreedySearcher):
    """Begins with nothing before a level is over."""

    def certain(self, candidates):
        return []


@pytest.mark.parametrize(("workers", "most", "least"), [(4, 0.06, 0.24), (8, 0.3, 0.42)])
def test_idle_workers_extend_prefixes_that_are_certain(workers, most, least):
    nine = space(16, 3)  # three prefixes with three options each
    begun = simulate(GreedySearcher(nine, top_k=3), workers, chance, second)
    waited = simulate(Waiting(nine, top_k=3), workers, chance, second)
    assert results(begun) == results(waited)
    assert begun.idle < most and waited.idle > least


def test_exhaustive_keeps_all_workers_busy_until_the_last_wave():
    searcher = ExhaustiveSearcher(space(3, 4))
    for num_workers in (1, 10, 60, 64):
        simulated = simulate(searcher, num_workers, chance, second)
        assert len(simulated.candidates) == 64
        # Some look for work at the moment of the first proposal, and again a little later.
        assert simulated.seconds == pytest.approx(math.ceil(64 / num_workers), abs=0.2)


def test_a_search_that_samples_keeps_all_workers_busy_but_has_fewer_generations():
    size = {"population": 10, "generations": 4, "seed": 0}
    generations = []
    for num_workers in (1, 4, 40):
        searcher = EvolutionSearcher(space(9, 4), parents=3, **size)
        simulated = simulate(searcher, num_workers, chance, second)
        assert len(simulated.candidates) == 40
        assert simulated.seconds == pytest.approx(40 / num_workers)
        generations.append(simulated.generations)
    assert generations[0] == 4 and generations[-1] == 1  # with 40 workers, all are random


def test_a_storage_that_serves_one_operation_at_a_time_limits_a_search():
    searcher = RandomSearcher(space(9, 4), population=10, generations=4, seed=0)
    load = StorageLoad(operation=0.05, operations=10)
    simulated = simulate(searcher, 40, chance, second, load)
    assert simulated.seconds == pytest.approx(40 * 0.5 + 1)
    assert simulated.idle == pytest.approx(1 - 1 / 21)
    alone = simulate(searcher, 1, chance, second, load)
    assert alone.seconds == pytest.approx(40 * 1.5)
    assert alone.operations == pytest.approx(400 / 60)
    slower = StorageLoad(operation=0.05, per_running=0.05, operations=10)
    assert simulate(searcher, 40, second, second, slower).seconds > 25


def test_a_worker_looks_for_work_again_after_a_small_share_of_an_evaluation():
    assert [pause_after(seconds) for seconds in (0, 0.5, 100, 10_000)] == [0.1, 0.1, 2, 10]
