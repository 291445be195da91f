"""Spaces of plain numbers, and limits on costs that are written out."""

from itertools import product

import pytest

from crnas_d2.config import NetworkSpec
from crnas_d2.cost import build_budgets, build_costs
from crnas_d2.space import (
    AdditiveCost,
    Budget,
    Choice,
    Genotype,
    SearchSpace,
    feasible_fraction,
)


def make_space(*options):
    """One operation after the other, each with options of its own."""
    choices = (Choice(f"res2.{i}.op", values, field="ops") for i, values in enumerate(options))
    return SearchSpace("operation", tuple(choices))


def make_budget(low, high, space, columns, base=0, *, name="MACS", unit="MACs"):
    """Limits on a cost.

    Args:
        columns: by choice, in their order, the cost of each option.
    """
    options = dict(zip(space.names, columns, strict=True))
    return Budget(AdditiveCost(name, unit, space, options, base), low, high)


def budgets_of(cfg):
    return build_budgets(cfg, build_costs(cfg, NetworkSpec.from_config(cfg)))


def random_budget(space, random, *, whole=True, name="MACS"):
    """Random costs, and limits that cut on both sides."""

    def draw():
        return random.randrange(1, 60) if whole else random.uniform(1, 60)

    columns = [{option: draw() for option in choice.options} for choice in space.choices]
    base = draw()
    totals = sorted(total(space, columns, base, genotype) for genotype in space)
    low, high = totals[len(totals) // 5], totals[len(totals) * 3 // 5]
    return make_budget(low, high, space, columns, base, name=name)


def brute_force(genotypes, budgets):
    """Those of some genotypes of one space that satisfy all budgets."""
    return [
        genotype
        for genotype in genotypes
        if all(budget.low <= total_of(budget, genotype) <= budget.high for budget in budgets)
    ]


def check_fraction(space, genotypes, budgets, monkeypatch):
    """Compare two budgets, alone and together, with brute force."""
    one, both = (len(brute_force(genotypes, b)) / space.size for b in (budgets[:1], budgets))
    counted = [feasible_fraction(space, budgets[:1]), feasible_fraction(space, budgets)]
    assert [fraction.value for fraction in counted] == [one, both]
    assert all(fraction.is_exact for fraction in counted)
    # The ways of large spaces: by totals, and by samples in which all genotypes are alike.
    monkeypatch.setattr("crnas_d2.space.fraction._MOST_COUNTED", 0)
    assert feasible_fraction(space, budgets[:1]) == counted[0]
    sampled = feasible_fraction(space, budgets)
    assert not sampled.is_exact
    assert sampled.value == pytest.approx(both, abs=0.01)  # 6 standard errors
    return sampled


def total_of(budget, genotype):
    space = budget.cost.space
    columns = [budget.cost.options[name] for name in space.names]
    return total(space, columns, budget.cost.base, genotype)


def total(space, columns, base, genotype):
    """The cost of a genotype, written out."""
    costs = []
    depths, ops = list(genotype.depths), list(genotype.ops)
    for choice, column in zip(space.choices, columns, strict=True):
        if choice.field == "depths":
            depth = depths.pop(0)
            costs.append(column[depth])
        # In a joint space, only the first blocks of a stage are there.
        elif not choice.parent or choice.block < depth:
            costs.append(column[ops.pop(0)])
    assert not depths and not ops
    return sum(costs, base)


def operations(*options):
    """All genotypes of :func:`make_space`, in lexicographic order."""
    return [Genotype(ops=chosen) for chosen in product(*options)]
