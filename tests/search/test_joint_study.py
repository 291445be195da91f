"""Searches of a joint space in their study: within the budget, killed, resumed, shared."""

from random import Random

import pytest
from study_worker import (
    JOINT,
    SAMPLED,
    SEARCHES,
    begin,
    dilated_blocks,
    evaluate,
    evaluated_by_two,
    fitness,
    in_memory,
    killed_in,
    search,
)

from crnas_d2 import search as searches
from crnas_d2.modeling.families import ResNetFamily
from crnas_d2.modeling.spaces import JointKind
from crnas_d2.search import EvolutionSearcher, RandomSearcher, evaluated
from crnas_d2.space import Genotype

JOINT_SEARCHES = ["joint exhaustive", "joint evolution", "joint random"]
GENOTYPES = list(JOINT)
# By search, how much dilation its budget allows.
MOST = {"joint exhaustive": 1, "joint evolution": 4, "joint random": 4}


@pytest.fixture(scope="module")
def uninterrupted():
    """By name, what each search evaluates in order, and its study."""
    found = {}
    for name in JOINT_SEARCHES:
        study = in_memory()
        found[name] = search(SEARCHES[name], study), study
    return found


@pytest.mark.parametrize("name", JOINT_SEARCHES)
def test_a_search_evaluates_feasible_genotypes_each_once(name, uninterrupted):
    seen, study = uninterrupted[name]
    assert len(seen) == len(set(seen)) == SEARCHES[name].total == 24
    feasible = [genotype for genotype in GENOTYPES if sum(genotype.ops) <= MOST[name]]
    assert set(seen) <= set(feasible) and len({genotype.depths for genotype in seen}) > 1
    assert name != "joint exhaustive" or seen == feasible
    # The study holds the active choices alone, and gives the best first.
    assert [trial.params for trial in study.get_trials()] == [JOINT.values(g) for g in seen]
    candidates = evaluated(study, JOINT)
    assert [c.genotype for c in candidates] == sorted(seen, key=fitness, reverse=True)
    assert all(candidate.metrics == evaluate(candidate.genotype) for candidate in candidates)


SLOW = [pytest.param(f"joint {name}", marks=pytest.mark.slow) for name in ("exhaustive", "random")]


@pytest.mark.parametrize("name", ["joint evolution", *SLOW])
def test_killed_and_resumed_equals_uninterrupted(name, tmp_path, uninterrupted):
    begin(tmp_path)
    before = killed_in(tmp_path, 9, name)  # evolution: in the second generation
    resumed = begin(tmp_path, resume=True)
    rest = search(SEARCHES[name], resumed)
    expected, _ = uninterrupted[name]
    # Only what the kill interrupted was begun twice.
    if name == "joint exhaustive":  # its turn comes after the 16 that waited already
        assert before + rest == [*expected[:16], expected[8], *expected[16:]]
    else:
        assert before[:-1] + rest == expected and rest[0] == before[-1]
    best = [c.genotype for c in evaluated(resumed, JOINT)]
    assert best == sorted(expected, key=fitness, reverse=True)


@pytest.mark.slow
def test_two_workers_evaluate_nothing_twice(tmp_path, uninterrupted):
    study = begin(tmp_path)
    seen = evaluated_by_two(tmp_path, "joint exhaustive")
    assert sorted(seen) == sorted(uninterrupted["joint exhaustive"][0])
    assert {c.genotype for c in evaluated(study, JOINT)} == set(seen)


def test_what_is_enqueued_is_evaluated_as_it_is():
    study = in_memory()
    chosen = [GENOTYPES[0], GENOTYPES[-1], GENOTYPES[0]]
    for _ in range(2):
        searches.enqueue(study, JOINT, chosen)
    seen = search(SEARCHES["joint random"], study)
    assert seen[0] == GENOTYPES[0]  # the other one has too much dilation
    assert GENOTYPES[-1] not in seen and len(seen) == 24


LARGE = JointKind([(1, 2, 3)] * 4).build_space(ResNetFamily(), Genotype())
_RANDOM = Random(7)
GAINS = {c.name: {o: _RANDOM.random() for o in c.options} for c in LARGE.choices}


def gain(genotype):
    """Each active choice contributes what its option is worth, whatever the others do."""
    return sum(GAINS[name][option] for name, option in LARGE.values(genotype).items())


def evolve(kind, generations, **arguments):
    """The genotypes of each generation."""
    searcher = kind(LARGE, population=30, generations=generations, seed=0, **arguments)
    seen = search(searcher, evaluate=lambda genotype: {"bbox/AP": gain(genotype)})
    assert len(set(seen)) == len(seen) == 30 * generations
    return [seen[i : i + 30] for i in range(0, len(seen), 30)]


def test_evolution_finds_more_than_random_search():
    best = [
        max(gain(genotype) for generation in evolve(kind, 6) for genotype in generation)
        for kind in (EvolutionSearcher, RandomSearcher)
    ]
    assert best[0] > best[1] + 0.5


def test_children_have_the_blocks_of_their_parents():
    before, *later = evolve(EvolutionSearcher, 3, parents=5, crossover_share=1.0)
    for generation in later:
        parents = [LARGE.values(g) for g in sorted(before, key=gain, reverse=True)[:5]]
        for child in map(LARGE.values, generation):
            for name, option in child.items():
                assert option in {parent[name] for parent in parents if name in parent}
        before += generation


def test_a_mutation_of_every_choice_is_a_genotype_of_the_space():
    mutations = {"crossover_share": 0.0, "mutation_probability": 1.0}
    first, second, third = evolve(EvolutionSearcher, 3, parents=5, **mutations)
    assert all(map(LARGE.is_complete, first + second + third))
    assert {g.depths[0] for g in second + third} == {1, 2, 3}


def test_a_rare_mutation_keeps_the_blocks_that_stay():
    mutations = {"crossover_share": 0.0, "mutation_probability": 0.02}
    first, second = evolve(EvolutionSearcher, 2, parents=5, **mutations)
    parents = [LARGE.values(g) for g in sorted(first, key=gain, reverse=True)[:5]]
    for child in map(LARGE.values, second):
        # Of the choices that both have, at most a few differ.
        differing = [sum(child[n] != p[n] for n in child if n in p) for p in parents]
        assert 0 <= min(differing) <= 3


def test_a_seed_gives_the_same_search_and_another_seed_another(uninterrupted):
    for kind, name in ((EvolutionSearcher, "joint evolution"), (RandomSearcher, "joint random")):
        parents = {"parents": 3} if kind is EvolutionSearcher else {}
        for seed, is_same in ((3, True), (4, False)):
            other = kind(JOINT, dilated_blocks(4), **parents, **{**SAMPLED, "seed": seed})
            assert (search(other) == uninterrupted[name][0]) == is_same


@pytest.mark.parametrize("name", ["TPESampler", "NSGAIISampler"])
def test_a_stock_sampler_leads_a_search_of_a_joint_space(name):
    seen = search(searches.OptunaSearcher(JOINT, dilated_blocks(4), sampler=name, **SAMPLED))
    assert len(set(seen)) == len(seen) == 24
    assert all(sum(genotype.ops) <= 4 and JOINT.is_complete(genotype) for genotype in seen)


def test_networks_are_sampled_and_counted_within_the_budget():
    sampled = searches.sample_genotypes(JOINT, dilated_blocks(4), 30, seed=0)
    assert sampled == searches.sample_genotypes(JOINT, dilated_blocks(4), 30, seed=0)
    assert len(set(sampled)) == 30 and all(sum(g.ops) <= 4 for g in sampled)
    for kind in (EvolutionSearcher, RandomSearcher):
        with pytest.raises(ValueError, match=r"asks for 25 candidates, .* only 24 genotypes"):
            kind(JOINT, dilated_blocks(1), population=5, generations=5)


def test_a_space_that_is_used_up_ends_the_search_with_the_reason(monkeypatch):
    monkeypatch.setattr("crnas_d2.search.evolution._MOST_SAMPLES", 3000)
    searcher = EvolutionSearcher(JOINT, dilated_blocks(1), population=6, generations=4)
    searcher.total = 25
    with pytest.raises(ValueError, match=r"no new .* satisfies SEARCH\.BUDGET; 24 are evaluated"):
        search(searcher)


def test_greedy_search_is_refused_with_what_to_use_instead():
    words = r"ALGORITHM is 'greedy'.*in the joint space earlier choices decide.*'evolution'"
    with pytest.raises(ValueError, match=words):
        searches.GreedySearcher(JOINT, top_k=3)
