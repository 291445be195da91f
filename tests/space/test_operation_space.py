from random import Random

import pytest
import toy
from toy_spaces import budgets_of

from crnas_d2.config import NetworkSpec
from crnas_d2.modeling.families import MobileNetV2Family, ResNetFamily
from crnas_d2.modeling.spaces import OperationKind, StageKind
from crnas_d2.space import Choice, Genotype, SearchSpace, feasible_genotypes

MOBILENETV2 = MobileNetV2Family()
OPERATION = {"MODEL.SUPERNET.SPACE": "operation", "SEARCH.BUDGET.BLOCKS": []}


def operation_space(family, depths):
    return OperationKind().build_space(family, Genotype(depths=depths))


DEPTHS = (1, 2, 1, 2)
SPACE = operation_space(ResNetFamily(), DEPTHS)


def test_one_choice_per_block_named_by_its_place():
    blocks = ("res2.0", "res3.0", "res3.1", "res4.0", "res5.0", "res5.1")
    assert SPACE.names == tuple(f"{block}.op" for block in blocks)
    assert all(choice.options == (0, 1, 2) for choice in SPACE.choices)
    assert SPACE.size == 3**6 == len(list(SPACE))
    # CR-NAS's, of ResNet-50.
    assert operation_space(ResNetFamily(), (3, 4, 6, 3)).size == 3**16


def test_every_genotype_keeps_the_depths_of_the_base():
    genotype = SPACE.genotype(dict.fromkeys(SPACE.names, 2))
    assert genotype == Genotype(depths=DEPTHS, ops=(2,) * 6)
    assert SPACE.values(genotype) == dict.fromkeys(SPACE.names, 2)
    assert all(found.depths == DEPTHS for found in SPACE)


def test_only_the_blocks_with_a_depthwise_convolution_are_searched_in_mobilenetv2():
    space = operation_space(MOBILENETV2, MOBILENETV2.baseline_depths())
    assert len(space.choices) == 20
    fixed = {choice.name for choice in space.choices if choice.options == (0,)}
    assert fixed == {"stem.0.op", "tail.0.op", "classifier.0.op"}
    assert space.size == 3**17


def test_the_weighted_budget_of_mobilenetv2():
    overrides = {"MODEL.SUPERNET.SPACE": "stage", "SEARCH.BUDGET.BLOCKS": [16, 16]}
    overrides |= {"MODEL.SUPERNET.FAMILY": "mobilenetv2", "SEARCH.COSTS": []}
    [budget] = budgets_of(toy.network_config(overrides))
    assert budget.cost(Genotype(depths=MOBILENETV2.baseline_depths())) == 16.0
    space = StageKind().build_space(MOBILENETV2, Genotype())
    feasible = feasible_genotypes(space, [budget])
    assert len(feasible) == 43
    assert Genotype(depths=(1, 1, 2, 2, 3, 4, 4, 1, 1, 1)) in feasible


def test_a_partial_genotype_decides_on_the_first_choices():
    partial = SPACE.genotype({"res2.0.op": 1, "res3.0.op": 2})
    assert partial == Genotype(depths=DEPTHS, ops=(1, 2))
    assert SPACE.values(partial, partial=True) == {"res2.0.op": 1, "res3.0.op": 2}
    assert not SPACE.is_complete(partial) and SPACE.is_complete(Genotype(DEPTHS, (0,) * 6))
    with pytest.raises(ValueError, match=r"OPS is \[1, 2\], which has 2 values.*6 choices"):
        SPACE.values(partial)
    with pytest.raises(ValueError, match="7 values"):
        SPACE.values(Genotype(DEPTHS, (0,) * 7), partial=True)


def test_a_completion_samples_every_open_choice_uniformly():
    sampled = [SPACE.complete(Genotype(DEPTHS, (1, 2)), Random(seed)).ops for seed in range(600)]
    assert {ops[:2] for ops in sampled} == {(1, 2)}
    others = [SPACE.complete(Genotype(DEPTHS, (0, 0)), Random(seed)).ops for seed in range(20)]
    assert [ops[2:] for ops in others] == [ops[2:] for ops in sampled[:20]]
    for block in range(2, 6):  # 200 expected, 11.5 their standard deviation
        assert min(sum(ops[block] == op for ops in sampled) for op in range(3)) > 150


def test_the_depths_of_the_config_are_the_base_of_the_operation_space():
    cfg = toy.network_config(OPERATION, {"MODEL.GENOTYPE.DEPTHS": list(DEPTHS)})
    assert NetworkSpec.from_config(cfg).space == SPACE
    published = NetworkSpec.from_config(toy.network_config(OPERATION)).space
    assert published.base == Genotype(depths=(3, 4, 6, 3))


@pytest.mark.parametrize("space", ["none", "stage", "operation"])
def test_a_network_with_operations_is_named_in_every_space(space):
    expected = Genotype(depths=(1, 2, 2, 3), ops=(0, 1, 2, 0, 1, 2, 2, 1))
    genotype = {f"MODEL.GENOTYPE.{key}": value for key, value in expected.to_config().items()}
    fixed = {"MODEL.SUPERNET.PATH_SAMPLER": "fixed", "MODEL.SUPERNET.SPACE": space}
    assert NetworkSpec.from_config(toy.supernet_config(fixed, genotype)).genotype == expected
    assert expected.ops_of_stages() == ((0,), (1, 2), (0, 1), (2, 2, 1))


@pytest.mark.parametrize(("kind", "field"), [("operation", "ops"), ("stage", "depths")])
def test_two_choices_of_any_name_may_have_different_options(kind, field):
    choices = (Choice("a", (1, 3), field=field), Choice("b", (2,), field=field))
    space = SearchSpace(kind, choices)
    first, second = (Genotype(**{field: values}) for values in ((1, 2), (3, 2)))
    assert space.size == 2 and list(space) == [first, second]
    assert space.complete(Genotype(**{field: (3,)}), Random(0)) == second
