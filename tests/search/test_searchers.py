from itertools import pairwise

import pytest
import toy

from crnas_d2.config import NetworkSpec
from crnas_d2.cost import build_budgets, build_costs
from crnas_d2.modeling.families import ResNetFamily
from crnas_d2.modeling.spaces import OperationKind, StageKind
from crnas_d2.search import Candidate, ExhaustiveSearcher, GreedySearcher, build_searcher
from crnas_d2.space import AdditiveCost, Budget, Choice, Genotype, SearchSpace


def operation_space(depths):
    return OperationKind().build_space(ResNetFamily(), Genotype(depths=depths))


SPACE = operation_space((1, 1, 1, 2))
OPERATION = {"MODEL.SUPERNET.SPACE": "operation", "SEARCH.BUDGET.BLOCKS": []}


def run(searcher, fitness):
    """Evaluates what the searcher proposes; the candidates, level by level."""
    levels = []
    while proposed := searcher.propose([c for level in levels for c in level]):
        levels.append([Candidate(genotype, fitness(genotype)) for genotype in proposed])
    return levels


def best(candidates):
    return max(candidates, key=lambda candidate: candidate.fitness).genotype


def separable(genotype):
    """Each block has its own best operation, whatever the others do."""
    wanted = (2, 0, 1, 1, 2)
    pairs = enumerate(zip(genotype.ops, wanted, strict=False))
    return -sum(abs(op - w) * 3.0**-block for block, (op, w) in pairs)


def entangled(genotype):
    """The mean over all completions of a fitness in which blocks depend on each other."""

    def whole(ops):
        a, b, c, d, e = ops
        return (a - 1) * (b - 1) + 0.7 * (b - 1) * (d - 1) - 0.6 * c * (e - 1) + 0.05 * a + 0.03 * d

    completions = [g.ops for g in SPACE if g.ops[: len(genotype.ops)] == genotype.ops]
    return sum(map(whole, completions)) / len(completions)


@pytest.mark.parametrize("top_k", [1, 2, 3])
def test_greedy_finds_the_optimum_of_a_separable_fitness(top_k):
    levels = run(GreedySearcher(SPACE, top_k=top_k), separable)
    optimum = max(SPACE, key=separable)
    assert best(levels[-1]) == optimum == Genotype((1, 1, 1, 2), (2, 0, 1, 1, 2))


def test_greedy_that_keeps_more_finds_more_and_with_all_it_is_brute_force():
    last = {k: run(GreedySearcher(SPACE, top_k=k), entangled)[-1] for k in (1, 9, SPACE.size)}
    assert len(last[SPACE.size]) == SPACE.size
    assert best(last[SPACE.size]) == max(SPACE, key=entangled)
    assert entangled(best(last[1])) < entangled(best(last[9]))


def test_each_level_extends_the_best_of_the_level_before():
    levels = run(GreedySearcher(SPACE, top_k=2), entangled)
    assert [len(level) for level in levels] == [3, 6, 6, 6, 6]
    for before, level in pairwise(levels):
        ranked = sorted(before, key=lambda candidate: candidate.fitness, reverse=True)
        kept = {candidate.genotype.ops for candidate in ranked[:2]}
        assert {candidate.genotype.ops[:-1] for candidate in level} == kept
        assert all(candidate.genotype.ops[-1] in (0, 1, 2) for candidate in level)


@pytest.mark.parametrize("blocks", [8, 16, 33])
def test_the_number_of_evaluations_is_that_of_the_paper(blocks):
    depths = (1, 1, 1, blocks - 3)
    searcher = GreedySearcher(operation_space(depths), top_k=3)
    assert searcher.total == 3 + 9 * (blocks - 1)
    assert sum(len(level) for level in run(searcher, lambda genotype: 0.0)) == searcher.total


def test_the_number_of_evaluations_where_choices_have_other_numbers_of_options():
    options = {"a": (3,), "b": (0, 1), "c": (0, 1, 2), "d": (5,), "e": (0, 1), "f": (7,)}
    choices = tuple(Choice(name, values, field="ops") for name, values in options.items())
    searcher = GreedySearcher(SearchSpace("operation", choices), top_k=4)
    levels = run(searcher, lambda genotype: 0.0)
    assert [len(level) for level in levels] == [2, 6, 8]
    assert searcher.total == 16
    # What cannot vary is taken along.
    assert {level[0].genotype.ops for level in levels} == {(3, 0), (3, 0, 0, 5), (3, 0, 0, 5, 0, 7)}


def first_level(*fitness):
    """Candidates of the first level, by operation."""
    genotypes = (Genotype(SPACE.base.depths, (op,)) for op in range(len(fitness)))
    return [Candidate(g, f, failure="why") for g, f in zip(genotypes, fitness, strict=True)]


def test_only_what_is_missing_of_a_level_is_proposed():
    searcher = GreedySearcher(SPACE, top_k=2)
    levels = run(searcher, entangled)
    done = [*levels[0], *levels[1][:2], *levels[1][3:5]]
    assert searcher.propose(done) == [levels[1][2].genotype, levels[1][5].genotype]


def test_equal_fitness_keeps_the_first_genotypes_whatever_the_order_of_the_results():
    searcher, level = GreedySearcher(SPACE, top_k=2), first_level(1.0, 1.0, 1.0)
    for order in (level, level[::-1], [*level[2:], *level[:2]]):
        assert searcher.propose(order) == searcher.propose(level)
    assert {g.ops[0] for g in searcher.propose(level)} == {0, 1}


def test_a_failed_candidate_is_not_extended_and_if_all_fail_the_search_ends_with_the_reason():
    searcher = GreedySearcher(SPACE, top_k=3)
    assert {g.ops[0] for g in searcher.propose(first_level(None, 1.0, 2.0))} == {1, 2}
    with pytest.raises(ValueError, match=r"decides on res2\.0\.op has a finite.*\(e\.g\. why\)"):
        searcher.propose(first_level(None, None, None))


def test_a_race_has_an_order_of_its_own_the_same_for_the_same_seed():
    plain = ExhaustiveSearcher(SPACE).genotypes
    first, again, other = (ExhaustiveSearcher(SPACE, order_seed=n).genotypes for n in (1, 1, 2))
    assert first == again != other and sorted(first) == sorted(plain) and plain != first
    cfg = toy.supernet_config({"SEED": 1})
    assert ExhaustiveSearcher.from_config(cfg) == {"order_seed": None}
    cfg.SEARCH.RACING.ENABLED = True
    assert ExhaustiveSearcher.from_config(cfg) == {"order_seed": 1}


def test_exhaustive_proposes_what_is_feasible_and_not_yet_done():
    kind = StageKind([(1, 2), (1, 2), (2, 3), (2, 3)])
    space = kind.build_space(ResNetFamily(), Genotype())
    costs = {choice.name: {blocks: blocks for blocks in choice.options} for choice in space.choices}
    blocks = AdditiveCost("BLOCKS", "blocks", space, costs)
    searcher = ExhaustiveSearcher(space, [Budget(blocks, 8, 8)])
    assert searcher.total == len(toy.ELIGIBLE)
    assert [genotype.depths for genotype in searcher.propose([])] == toy.ELIGIBLE
    done = [Candidate(Genotype(depths), 1.0) for depths in toy.ELIGIBLE[1:]]
    assert [genotype.depths for genotype in searcher.propose(done)] == toy.ELIGIBLE[:1]


def test_a_space_that_is_too_large_is_not_searched_one_by_one():
    with pytest.raises(ValueError, match=r"space has about 43,046,721 feasible.*'greedy'"):
        ExhaustiveSearcher(operation_space((3, 4, 6, 3)))


def search_of(cfg):
    cfg.SEARCH.COSTS = []
    spec = NetworkSpec.from_config(cfg)
    costs = build_costs(cfg, spec)
    return build_searcher(cfg, spec.space, build_budgets(cfg, costs))


def test_the_config_names_the_search():
    exhaustive = search_of(toy.supernet_config())
    assert exhaustive.total == len(toy.ELIGIBLE)
    overrides = {"MODEL.GENOTYPE.DEPTHS": [1, 1, 1, 2], "SEARCH.ALGORITHM": "greedy"}
    greedy = search_of(toy.network_config(OPERATION, overrides, {"SEARCH.GREEDY.TOP_K": 2}))
    assert greedy.space == SPACE and greedy.top_k == 2


SIZE = {"SEARCH.EVOLUTION.POPULATION": 4, "SEARCH.EVOLUTION.GENERATIONS": 3}
EVOLUTION = {"SEARCH.BUDGET.BLOCKS": [], **SIZE}


def test_searches_that_sample_evaluate_equally_many():
    samplers = []
    for algorithm in ("evolution", "random", "optuna"):
        searcher = search_of(toy.supernet_config(EVOLUTION, {"SEARCH.ALGORITHM": algorithm}))
        assert searcher.total == 12 and searcher.propose([]) == []
        samplers.append(searcher.sampler)
    assert [sampler.population_size for sampler in samplers[:2]] == [4, 12]
    assert str(samplers[2]) == "TPESampler"


TOO_MANY = "36 candidates, POPULATION 4 x GENERATIONS 9, but only 16"
REFUSED = [  # the algorithm, settings of SEARCH, and a part of the message
    ("gready", {}, r"'gready'.*exhaustive.*greedy.*evolution"),
    ("greedy", {"BUDGET.BLOCKS": [8, 8]}, r"BLOCKS \[8, 8\].*greedy search cannot"),
    ("greedy", {"GREEDY.TOP_K": 0}, "TOP_K is 0; expected at least 1"),
    ("greedy", {"GREEDY.TOP_K": -1}, "TOP_K is -1; expected at least 1"),
    ("random", {"EVOLUTION.GENERATIONS": 9}, TOO_MANY),
    ("evolution", {"EVOLUTION.GENERATIONS": 9}, TOO_MANY),
    ("evolution", {"EVOLUTION.PARENTS": 0}, r"EVOLUTION\.PARENTS is 0; expected at least 1"),
    (
        "evolution",
        {"EVOLUTION.MUTATION_PROBABILITY": 1.5},
        r"MUTATION_PROBABILITY is 1\.5; expected above 0 and at most 1",
    ),
    (
        "evolution",
        {"EVOLUTION.CROSSOVER_SHARE": -0.1},
        r"CROSSOVER_SHARE is -0\.1; expected from 0 to 1",
    ),
    (
        *("optuna", {"OPTUNA.SAMPLER": "NSGAISampler"}),
        r"'NSGAISampler'; expected one of optuna\.samplers: .*NSGAIISampler.* Did you mean",
    ),
    (
        *("optuna", {"OPTUNA.SAMPLER": "PartialFixedSampler"}),
        "'PartialFixedSampler', which cannot be built from its default arguments",
    ),
    (
        *("optuna", {"OPTUNA.SAMPLER": "GridSampler"}),
        r"'GridSampler', but it lists all genotypes\. Use .*'exhaustive'",
    ),
    (
        *("evolution", {"SECOND_OBJECTIVE": "MACS"}),
        r"'MACS', but SEARCH\.ALGORITHM 'evolution' has one",
    ),
    ("optuna", {"SECOND_OBJECTIVE": "watts"}, r"SECOND_OBJECTIVE is 'watts'; known: .*MACS"),
]


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize(("algorithm", "settings", "words"), REFUSED)
def test_a_search_that_cannot_be_is_refused(algorithm, settings, words):
    overrides = {f"SEARCH.{key}": value for key, value in settings.items()}
    with pytest.raises(ValueError, match=words):
        search_of(toy.supernet_config(EVOLUTION, {"SEARCH.ALGORITHM": algorithm}, overrides))
