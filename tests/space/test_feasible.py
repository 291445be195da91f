"""Enumeration of feasible genotypes drops prefixes early, also where choices depend on others."""

from crnas_d2.modeling.families import ResNetFamily
from crnas_d2.modeling.spaces import JointKind
from crnas_d2.space import AdditiveCost, Budget, Genotype, feasible_genotypes


def test_a_tight_budget_is_enumerated_without_visiting_the_space():
    space = JointKind([(8, 9)] * 4).build_space(ResNetFamily(18), Genotype())
    options = {
        choice.name: {option: (choice.field == "ops") * (10 + option) for option in choice.options}
        for choice in space.choices
    }
    cost = AdditiveCost("ENERGY", "mJ", space, options)
    expected = Genotype(depths=(8,) * 4, ops=(0,) * 32)  # one of more than 3 ** 32
    assert feasible_genotypes(space, [Budget(cost, 0, 320)]) == [expected]
