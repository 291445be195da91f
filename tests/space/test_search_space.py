from itertools import product

import pytest
import toy
from toy_spaces import make_budget

from crnas_d2.config import NetworkSpec
from crnas_d2.cost import build_budgets, build_costs
from crnas_d2.modeling.families import ResNetFamily
from crnas_d2.modeling.spaces import StageKind
from crnas_d2.space import Choice, Genotype, SearchSpace, feasible_genotypes

RESNET = ResNetFamily()


def stage_space(options=()):
    return StageKind(options).build_space(RESNET, Genotype())


def blocks(space, low, high, weights=(1, 1, 1, 1)):
    """The number of blocks of each stage, weighted, as a limit."""
    columns = [
        {number: weight * number for number in choice.options}
        for choice, weight in zip(space.choices, weights, strict=True)
    ]
    return [make_budget(low, high, space, columns, name="BLOCKS", unit="blocks")]


def budgets_of(cfg):
    return build_budgets(cfg, build_costs(cfg, NetworkSpec.from_config(cfg)))


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


def test_the_published_resnext101_lies_outside_the_published_sets():
    with pytest.raises(ValueError, match=r"15 is not an option of res4\.depth"):
        stage_space().validate(Genotype(depths=(3, 4, 15, 11)))


@pytest.mark.parametrize("depth", [18, 50, 101])
def test_every_baseline_lies_in_the_published_sets(depth):
    stage_space().validate(Genotype(depths=ResNetFamily(depth).baseline_depths()))


def test_values_and_genotype_are_inverse():
    space = stage_space()
    genotype = Genotype(depths=(1, 3, 5, 7))
    values = space.values(genotype)
    assert values == {"res2.depth": 1, "res3.depth": 3, "res4.depth": 5, "res5.depth": 7}
    assert space.genotype(values) == genotype


def test_a_genotype_of_the_wrong_length_is_refused_with_what_is_expected():
    with pytest.raises(ValueError) as error:
        stage_space().validate(Genotype(depths=(1, 2, 3)))
    message = str(error.value)
    assert "[1, 2, 3]" in message and "3 values" in message and "4 choices" in message
    assert "res2.depth" in message and "MODEL.GENOTYPE.DEPTHS" in message


def test_a_genotype_outside_the_space_is_refused_with_what_is_allowed():
    with pytest.raises(ValueError) as error:
        stage_space().values(Genotype(depths=(1, 11, 5, 7)))
    message = str(error.value)
    assert "[1, 11, 5, 7]" in message and "11 is not an option of res3.depth" in message
    assert str(list(range(1, 11))) in message


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([[1, 2], [1, 2], [2, 3]], r"STAGE_OPTIONS has 3 lists.*res2, res3, res4, res5"),
        ([[0, 1], [1], [2], [3]], r"\[0, 1\].*at least 1"),
        ([[1], [1, 2.5], [2], [3]], r"2\.5.*whole numbers"),
        ([[1], [1], [2, 3, 2], [3]], r"res4\.depth.*\[2, 3, 2\].*without duplicates"),
        ([[1], [], [2], [3]], r"res3\.depth.*\[\].*at least one"),
    ],
    ids=["number of lists", "zero", "fraction", "duplicate", "no option"],
)
def test_malformed_stage_options_are_refused(options, words):
    cfg = toy.supernet_config({"MODEL.SUPERNET.STAGE_OPTIONS": options})
    with pytest.raises(ValueError, match=words):
        NetworkSpec.from_config(cfg)


def test_unknown_space_and_family_are_refused_with_what_is_known():
    with pytest.raises(ValueError, match=r"'stages'.*none, stage, operation, joint, channel"):
        NetworkSpec.from_config(toy.supernet_config({"MODEL.SUPERNET.SPACE": "stages"}))
    with pytest.raises(ValueError, match=r"'vgg'.*resnet"):
        NetworkSpec.from_config(toy.supernet_config({"MODEL.SUPERNET.FAMILY": "vgg"}))


@pytest.mark.parametrize(
    "limits",
    [[16], [17, 16], [1, 2, 3], [-1, 16], ["few", 16], [True, 16], [0, ".inf"], [None, 1]],
)
def test_malformed_budget_is_refused(limits):
    with pytest.raises(ValueError, match=r"SEARCH\.BUDGET\.BLOCKS.*\[least, most\]"):
        budgets_of(toy.supernet_config({"SEARCH.BUDGET.BLOCKS": limits}))


def test_the_config_gives_the_space_and_the_budget():
    cfg = toy.supernet_config({"SEARCH.COSTS": []})
    feasible = feasible_genotypes(NetworkSpec.from_config(cfg).space, budgets_of(cfg))
    assert [genotype.depths for genotype in feasible] == toy.ELIGIBLE
    cfg.SEARCH.BUDGET.BLOCKS = []
    assert budgets_of(cfg) == ()
    assert NetworkSpec.from_config(toy.network_config()).space is None


def test_a_genotype_in_the_config_is_checked_against_space_and_stages():
    fixed = {"MODEL.SUPERNET.PATH_SAMPLER": "fixed"}
    with pytest.raises(ValueError, match=r"'fixed'.*of the stage space.*DEPTHS is empty"):
        NetworkSpec.from_config(toy.supernet_config(fixed))
    with pytest.raises(ValueError, match=r"9 is not an option of res2\.depth"):
        NetworkSpec.from_config(toy.supernet_config(fixed, {"MODEL.GENOTYPE.DEPTHS": [9, 1, 2, 2]}))
    with pytest.raises(ValueError, match=r"\[1, 2\].*4 stages"):
        NetworkSpec.from_config(toy.network_config({"MODEL.GENOTYPE.DEPTHS": [1, 2]}))


def test_without_a_genotype_the_config_names_the_published_network():
    assert NetworkSpec.from_config(toy.network_config()).genotype == Genotype(depths=(3, 4, 6, 3))
    ops = {"MODEL.RESNETS.DEPTH": 18, "MODEL.GENOTYPE.OPS": [0, 1, 2, 0, 0, 0, 1, 0]}
    expected = Genotype(depths=(2, 2, 2, 2), ops=(0, 1, 2, 0, 0, 0, 1, 0))
    assert NetworkSpec.from_config(toy.network_config(ops)).genotype == expected


def test_a_space_of_other_choices_than_stages_works_too():
    choices = (Choice("a", (1, 3), field="depths"), Choice("b", (2,), field="depths"))
    space = SearchSpace("stage", choices)
    assert list(space) == [Genotype(depths=(1, 2)), Genotype(depths=(3, 2))]
