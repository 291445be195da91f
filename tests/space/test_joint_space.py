"""Conditional choices: depths and operations at once, against brute force."""

import pickle
from itertools import product
from math import prod
from random import Random

import pytest
import toy
from toy_spaces import brute_force, budgets_of, check_fraction, make_budget, random_budget, total_of

from crnas_d2.config import NetworkSpec
from crnas_d2.modeling.families import MobileNetV2Family, ResNetFamily
from crnas_d2.modeling.spaces import JointKind
from crnas_d2.space import (
    AdditiveCost,
    Budget,
    Choice,
    Family,
    Genotype,
    Operation,
    SearchSpace,
    check_budgets,
    feasible_fraction,
    feasible_genotypes,
    is_feasible,
)


class Toy(Family):
    """A stem and two stages of blocks, each with one of three operations."""

    name = "toy"
    stages = ("stem", "high", "low")
    stage_options = ((1,), (1, 3), (2, 1, 4))
    operations = (Operation("a"), Operation("b"), Operation("c"))
    single_layers = frozenset({"stem"})

    @classmethod
    def from_config(cls, cfg):
        return {}

    def baseline_depths(self):
        return (1, 1, 2)

    def make_stem(self, in_channels):
        raise AssertionError("there is no network here")

    make_stage = make_body = make_stem


SPACE = JointKind().build_space(Toy(), Genotype())


# In lexicographic order: that of the choices, each in its own order.
GENOTYPES = [
    Genotype((1, high, low), (0, *ops_high, *ops_low))
    for high in (1, 3)
    for ops_high in product(range(3), repeat=high)
    for low in (2, 1, 4)
    for ops_low in product(range(3), repeat=low)
]


def test_a_stage_has_its_depth_and_then_the_operation_of_each_block_it_may_have():
    high = [f"high.{i}.op" for i in range(3)]
    low = [f"low.{i}.op" for i in range(4)]
    names = ("stem.depth", "stem.0.op", "high.depth", *high, "low.depth", *low)
    assert SPACE.names == names and SPACE.kind == "joint"
    assert SPACE.fields == ("depths", "ops") and SPACE.is_conditional
    choices = {choice.name: choice for choice in SPACE.choices}
    assert choices["stem.0.op"].options == (0,)
    assert choices["low.depth"].options == (2, 1, 4)
    assert set(choices["low.0.op"].active_for) == {1, 2, 4}
    assert set(choices["low.1.op"].active_for) == {2, 4}
    assert set(choices["low.3.op"].active_for) == {4}


def test_the_genotypes_are_those_of_brute_force_in_lexicographic_order():
    found = list(SPACE)
    assert found == GENOTYPES == feasible_genotypes(SPACE)
    assert len(set(found)) == len(found) == SPACE.size == (3 + 27) * (9 + 3 + 81)


def test_the_sizes_of_the_joint_spaces_of_the_papers_families():
    resnet = JointKind().build_space(ResNetFamily(), Genotype())
    assert resnet.size == 111_426_324_093_923_123_988_191_630_592
    # The stages that CR-NAS varies, and one block each in c16 and c320.
    stages = [sum(3**depth for depth in range(least, least + 5)) for least in (1, 1, 3, 2, 2)]
    mobilenet = JointKind().build_space(MobileNetV2Family(), Genotype())
    assert mobilenet.size == 3 * prod(stages) * 3


@pytest.mark.parametrize("genotype", [GENOTYPES[i] for i in (0, 7, 300, 1500, -1)], ids=str)
def test_values_and_genotype_are_inverse(genotype):
    values = SPACE.values(genotype)
    assert len(values) == 3 + sum(genotype.depths)
    assert SPACE.genotype(values) == genotype and SPACE.is_complete(genotype)
    # Its first choices alone are a partial genotype, however many they are.
    for number in range(len(values)):
        first = dict(list(values.items())[:number])
        partial = SPACE.genotype(first)
        assert SPACE.values(partial, partial=True) == first
        assert not SPACE.is_complete(partial)


def test_all_genotypes_have_values_of_their_own():
    values = [SPACE.values(genotype) for genotype in GENOTYPES]
    assert [SPACE.genotype(v) for v in values] == GENOTYPES
    assert len({tuple(v.items()) for v in values}) == SPACE.size


@pytest.mark.parametrize(
    ("depths", "ops", "words"),
    [
        ((1, 2, 2), (0,) * 5, r"DEPTHS is \[1, 2, 2\]: 2 is not an option of high\.depth; .*1, 3"),
        ((1, 1, 2), (0, 1, 3, 0), r"OPS is .*: 3 is not an option of low\.0\.op; .*0, 1, 2"),
        ((1, 1, 2), (1, 1, 0, 0), r"1 is not an option of stem\.0\.op"),
        ((1, 1, 2), (0, 1, 0), r"3 values; the joint space has 4 choices \(stem.* low\.1\.op\)"),
        ((1, 1, 2), (0,) * 5, "5 values; the joint space has 4 choices"),
        ((1, 1), (0, 1), r"DEPTHS is \[1, 1\], which has 2 values; .*3 choices \(stem\.depth"),
    ],
    ids=["depth", "operation", "single layer", "too few", "too many", "stages"],
)
def test_what_does_not_fit_is_refused(depths, ops, words):
    with pytest.raises(ValueError, match=words):
        SPACE.validate(Genotype(depths, ops))


def test_a_partial_genotype_has_no_gap():
    with pytest.raises(ValueError, match=r"decides on low\.depth and leaves high\.1\.op open"):
        SPACE.values(Genotype((1, 3, 2), (0, 1)), partial=True)


def test_a_completion_keeps_what_is_decided_and_samples_the_rest():
    partial = Genotype((1, 3), (0, 2, 1))
    sampled = [SPACE.complete(partial, Random(seed)) for seed in range(600)]
    assert all(g.depths[1] == 3 and g.ops[1:3] == (2, 1) for g in sampled)
    assert set(sampled) <= set(GENOTYPES)
    for depth in (1, 2, 4):
        assert sum(g.depths[2] == depth for g in sampled) > 150  # 200 expected, deviation 11.5
    for op in range(3):
        assert sum(g.ops[3] == op for g in sampled) > 150
    other = Genotype((1, 3), (0, 0, 0))
    for seed in range(20):
        one, two = (SPACE.complete(g, Random(seed)) for g in (partial, other))
        assert (one.depths, one.ops[3:]) == (two.depths, two.ops[3:])


def test_samples_are_genotypes_of_the_space():
    sampled = [SPACE.sample(Random(seed)) for seed in range(300)]
    assert set(sampled) <= set(GENOTYPES) and len(set(sampled)) > 100
    assert {genotype.depths for genotype in sampled} == {g.depths for g in GENOTYPES}


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "float"])
@pytest.mark.parametrize("seed", range(3))
def test_feasible_is_brute_force(seed, whole):
    random = Random(seed)
    one, other = (random_budget(SPACE, random, whole=whole, name=n) for n in ("MACS", "MORE"))
    for budgets in ([one], [other], [one, other]):
        found = feasible_genotypes(SPACE, budgets)
        assert found == brute_force(GENOTYPES, budgets)
        assert 0 < len(found) < SPACE.size
        assert found == [g for g in GENOTYPES if is_feasible(g, budgets)]


@pytest.mark.parametrize("seed", range(5))
def test_the_range_of_a_cost_is_that_of_all_genotypes(seed):
    cost = random_budget(SPACE, Random(seed)).cost
    totals = [total_of(Budget(cost, 0, 0), genotype) for genotype in GENOTYPES]
    assert [cost(genotype) for genotype in GENOTYPES] == totals
    assert cost.range == (min(totals), max(totals))
    for pick in (min, max):
        assert cost(SPACE.genotype(cost.extreme(pick))) == pick(totals)


def test_the_dearest_option_of_a_depth_counts_with_its_blocks():
    # Depth 1 is dearer by itself; depth 3 with its blocks.
    columns = [{1: 5}, {0: 0}, {1: 4, 3: 1}, *[{0: 2, 1: 3, 2: 1}] * 3]
    columns += [{2: 0, 1: 0, 4: 0}, *[{0: 0, 1: 0, 2: 0}] * 4]
    cost = make_budget(0, 0, SPACE, columns, 7).cost
    assert cost.range == (7 + 5 + 1 + 3 * 1, 7 + 5 + 1 + 3 * 3)
    assert cost.extreme(max)["high.depth"] == 3
    assert pickle.loads(pickle.dumps(cost)) == cost  # workers get it


@pytest.mark.parametrize("seed", range(3))
def test_the_fraction_is_that_of_all_genotypes(seed, monkeypatch):
    random = Random(seed)
    budgets = [random_budget(SPACE, random, name=name) for name in ("MACS", "MORE")]
    check_fraction(SPACE, GENOTYPES, budgets, monkeypatch)


def test_the_blocks_of_a_large_space_are_counted_as_the_paper_counts_them():
    joint = {"MODEL.SUPERNET.SPACE": "joint", "SEARCH.BUDGET.BLOCKS": [16, 16], "SEARCH.COSTS": []}
    cfg = toy.network_config(joint)
    space = NetworkSpec.from_config(cfg).space
    fraction = feasible_fraction(space, budgets_of(cfg))
    # 153 allocations (CR-NAS section 3.2.1), each with 3^16 choices of dilations.
    assert fraction.is_exact and fraction.value == 153 * 3**16 / space.size


def test_an_unreachable_limit_names_the_totals_of_all_depths():
    columns = [{1: 0}, {0: 0}, {1: 0, 3: 0}, *[{0: 10, 1: 10, 2: 10}] * 3]
    columns += [{2: 0, 1: 0, 4: 0}, *[{0: 10, 1: 10, 2: 10}] * 4]
    budget = make_budget(31, 39, SPACE, columns)
    for refuse in (check_budgets, feasible_genotypes):
        words = r"MACS \[31, 39\]\. Reachable totals: 20, 30, 40, 50, 70 MACs"
        with pytest.raises(ValueError, match=words):
            refuse(SPACE, [budget])


def test_a_tight_budget_is_enumerated_without_visiting_the_space():
    space = JointKind([(8, 9)] * 4).build_space(ResNetFamily(18), Genotype())
    options = {
        choice.name: {option: (choice.field == "ops") * (10 + option) for option in choice.options}
        for choice in space.choices
    }
    cost = AdditiveCost("ENERGY", "mJ", space, options)
    expected = Genotype(depths=(8,) * 4, ops=(0,) * 32)  # one of more than 3 ** 32
    assert feasible_genotypes(space, [Budget(cost, 0, 320)]) == [expected]


def test_other_conditions_than_the_depth_of_a_stage():
    """A kind of block, of which one has a rate to choose, and a plain choice behind it."""
    choices = (
        Choice("kind", (2, 0, 1), field="ops"),
        Choice("rate", (5, 4), field="ops", parent="kind", active_for=(0,)),
        Choice("width", (1, 2), field="depths"),
        Choice("last", (7, 8), field="ops", parent="kind", active_for=(2, 0)),
    )
    space = SearchSpace("operation", choices)
    lists = [(o, g.depths) for g in space for o in [g.ops]]
    assert space.size == len(set(lists)) == len(lists) == 2 * (2 + 4 + 1)
    assert lists[:2] == [((2, 7), (1,)), ((2, 8), (1,))] and lists[-1] == ((1,), (2,))
    assert all(space.genotype(space.values(genotype)) == genotype for genotype in space)


def test_the_config_gives_the_space_and_one_network_of_it():
    options = {"MODEL.SUPERNET.STAGE_OPTIONS": [[1, 2], [1], [2, 3], [1]]}
    joint = {"MODEL.SUPERNET.SPACE": "joint", "SEARCH.BUDGET.BLOCKS": [], **options}
    spec = NetworkSpec.from_config(toy.network_config(joint))
    assert spec.has_paths and spec.genotype == Genotype()
    assert spec.space.size == (3 + 9) * 3 * (9 + 27) * 3
    found = Genotype((2, 1, 2, 1), (0, 1, 2, 0, 1, 2))
    named = {f"MODEL.GENOTYPE.{key}": value for key, value in found.to_config().items()}
    fixed = {"MODEL.SUPERNET.PATH_SAMPLER": "fixed", **named}
    fixed = NetworkSpec.from_config(toy.network_config(joint, fixed))
    assert not fixed.is_supernet and fixed.space is None and fixed.genotype == found
    spec.space.validate(found)


def test_a_family_without_operations_has_no_joint_space():
    class Plain(Toy):
        operations = Toy.operations[:1]

    with pytest.raises(ValueError, match=r"SPACE is 'joint', but .*'toy' have only one operation"):
        JointKind().build_space(Plain(), Genotype())


def test_a_search_draws_other_shares_than_those_of_the_space(caplog):
    """Depths are drawn evenly, but nearly all networks have the largest depth."""
    depth = Choice("res2.depth", (1, 12), field="depths")
    ops = [
        Choice(
            *(f"res2.{i}.op", tuple(range(8)), "ops", "res2", i, "res2.depth"),
            active_for=(1, 12) if i == 0 else (12,),
        )
        for i in range(12)
    ]
    space = SearchSpace("joint", (depth, *ops))
    columns = [{1: 0, 12: 50}, *({option: 0 for option in range(8)} for _ in ops)]
    line, drawn = check_budgets(space, [make_budget(0, 2, space, columns)])
    assert "1.16e-08 % of the space" in line
    share, words = drawn.split(" % ")
    assert words == "of the networks that a search draws satisfy the limits"
    assert float(share) == pytest.approx(50, abs=2)
    assert caplog.records == []
