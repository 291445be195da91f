"""The image size as a choice beside those of blocks: the space, and costs that do not add up."""

import pickle
from random import Random

import pytest
from toy_spaces import make_space, random_budget

from crnas_d2.space import (
    Budget,
    CostBySize,
    Genotype,
    check_budgets,
    feasible_fraction,
    feasible_genotypes,
)
from crnas_d2.space.fraction import total_counts

SIZES = (64, 48, 80)


@pytest.fixture
def blocks():
    return make_space((0, 1, 2), (0, 3), (1,), (0, 1))


def budget_of(blocks, seed, low=90, high=130):
    """Limits on random costs, which are others at each size."""
    tables = {size: random_budget(blocks, Random(f"{seed}/{size}")).cost for size in SIZES}
    cost = CostBySize("MACS", "MACs", blocks.with_image_sizes(SIZES), tables=tables)
    return Budget(cost, low, high)


def test_a_space_has_every_network_at_every_size(blocks):
    space = blocks.with_image_sizes(SIZES)
    assert space.size == 3 * blocks.size and space.names == ("image_size", *blocks.names)
    genotype = Genotype(ops=(2, 0, 1, 1), image_size=(48,))
    assert genotype in list(space) and len(set(space)) == space.size
    assert space.genotype(space.values(genotype)) == genotype
    assert Genotype.from_config(genotype.to_config()) == genotype
    assert str(genotype) == "ops=[2, 0, 1, 1] image_size=[48]"
    with pytest.raises(ValueError, match=r"IMAGE_SIZE is .*50 is not an option of image_size"):
        space.validate(Genotype(ops=(2, 0, 1, 1), image_size=(50,)))
    assert blocks.with_image_sizes(()) is blocks


def test_a_genotype_has_one_image_size():
    with pytest.raises(ValueError, match=r"IMAGE_SIZE is \[64, 48\]; expected \[shorter side\]"):
        Genotype(image_size=(64, 48))


@pytest.mark.parametrize("seed", range(3))
def test_costs_and_limits_are_those_of_each_size(blocks, seed):
    budget = budget_of(blocks, seed)
    cost, space = budget.cost, budget.cost.space
    of = {g: cost.tables[g.image_size[0]](Genotype(ops=g.ops)) for g in space}
    assert {genotype: cost(genotype) for genotype in space} == of
    assert cost.range == (min(of.values()), max(of.values()))
    assert cost.mean == pytest.approx(sum(of.values()) / len(of))
    expected = [genotype for genotype, value in of.items() if budget.low <= value <= budget.high]
    assert 0 < len(expected) < space.size
    assert feasible_genotypes(space, [budget]) == expected
    fraction = feasible_fraction(space, [budget])
    assert fraction.is_exact and fraction.value == pytest.approx(len(expected) / space.size)
    assert sum(total_counts(cost, 1000).values()) == space.size
    assert total_counts(cost, 3) is None
    assert pickle.loads(pickle.dumps(budget)) == budget
    assert cost.digest != budget_of(blocks, seed + 1).cost.digest


def test_limits_that_no_size_satisfies_are_refused(blocks):
    budget = budget_of(blocks, 0, 0, 1)
    with pytest.raises(ValueError, match=r"No genotype satisfies SEARCH\.BUDGET\.MACS .*Reachable"):
        check_budgets(budget.cost.space, [budget])
