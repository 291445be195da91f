from itertools import product

import pytest
import toy
from toy_spaces import budgets_of, make_budget

from crnas_d2.config import NetworkSpec
from crnas_d2.modeling.families import ResNetFamily
from crnas_d2.modeling.spaces import StageKind
from crnas_d2.space import Genotype, feasible_genotypes

RESNET = ResNetFamily()


def stage_space(options=()):
    return StageKind(options).build_space(RESNET, Genotype())


def blocks(space, low, high, weights=(1, 1, 1, 1)):
    """The number of blocks of each stage, weighted, as a limit."""
    pairs = zip(space.choices, weights, strict=True)
    columns = [{number: weight * number for number in c.options} for c, weight in pairs]
    return [make_budget(low, high, space, columns, name="BLOCKS", unit="blocks")]


@pytest.mark.parametrize(("total", "size"), [(8, 9), (16, 153), (33, 374)])
def test_number_of_feasible_allocations_of_the_paper(total, size):
    space = stage_space()
    feasible = feasible_genotypes(space, blocks(space, total, total))
    assert len(feasible) == len(set(feasible)) == size
    assert all(sum(genotype.depths) == total for genotype in feasible)


def test_feasible_equals_brute_force_with_unequal_weights_and_two_limits():
    options = [(1, 2, 5), (3, 1), (2, 4, 6, 7), (1, 9)]
    weights = (1.5, 1.0, 0.75, 0.25)
    low, high = 7.0, 11.5
    space = stage_space(options)
    expected = [
        chosen
        for chosen in product(*options)
        if low <= sum(w * value for w, value in zip(weights, chosen, strict=True)) <= high
    ]
    assert 0 < len(expected) < 48  # the limits cut on both sides
    found = feasible_genotypes(space, blocks(space, low, high, weights))
    assert [genotype.depths for genotype in found] == expected


def test_without_a_budget_everything_is_feasible_in_lexicographic_order():
    space = stage_space([(1, 2), (1,), (2, 3), (4,)])
    expected = [(1, 1, 2, 4), (1, 1, 3, 4), (2, 1, 2, 4), (2, 1, 3, 4)]
    assert [genotype.depths for genotype in feasible_genotypes(space)] == expected
    assert [genotype.depths for genotype in space] == expected


def test_an_empty_feasible_set_names_the_limits_and_the_reachable_totals():
    space = stage_space([(1, 2), (1,), (2, 5), (2,)])
    with pytest.raises(ValueError, match=r"BUDGET\.BLOCKS \[8, 8\].*totals: 6-7, 9-10"):
        feasible_genotypes(space, blocks(space, 8, 8))


@pytest.mark.parametrize(
    ("allocation", "total"),
    [((1, 1, 2, 4), 8), ((1, 3, 5, 7), 16), ((2, 3, 17, 11), 33), ((2, 2, 6, 6), 16)],
    ids=["R18", "R50", "R101", "ReX50"],
)
def test_published_allocations_are_feasible(allocation, total):
    space = stage_space()
    assert Genotype(depths=allocation) in feasible_genotypes(space, blocks(space, total, total))


def test_every_baseline_lies_in_the_published_sets():
    for depth in (18, 50, 101):
        stage_space().validate(Genotype(depths=ResNetFamily(depth).baseline_depths()))


def test_the_config_gives_the_space_and_the_budget():
    cfg = toy.supernet_config({"SEARCH.COSTS": []})
    feasible = feasible_genotypes(NetworkSpec.from_config(cfg).space, budgets_of(cfg))
    assert [genotype.depths for genotype in feasible] == toy.ELIGIBLE
    cfg.SEARCH.BUDGET.BLOCKS = []
    assert budgets_of(cfg) == ()
    assert NetworkSpec.from_config(toy.network_config()).space is None


def test_without_a_genotype_the_config_names_the_published_network():
    assert NetworkSpec.from_config(toy.network_config()).genotype == Genotype(depths=(3, 4, 6, 3))
    ops = {"MODEL.RESNETS.DEPTH": 18, "MODEL.GENOTYPE.OPS": [0, 1, 2, 0, 0, 0, 1, 0]}
    expected = Genotype(depths=(2, 2, 2, 2), ops=(0, 1, 2, 0, 0, 0, 1, 0))
    assert NetworkSpec.from_config(toy.network_config(ops)).genotype == expected
