import pickle
import re
from random import Random

import pytest
from toy_spaces import (
    brute_force,
    check_fraction,
    make_budget,
    make_space,
    operations,
    random_budget,
)

from crnas_d2.space import (
    Budget,
    Genotype,
    check_budgets,
    feasible_fraction,
    feasible_genotypes,
    is_feasible,
    parse_limits,
)
from crnas_d2.space.fraction import iterate_feasible


def test_cost_and_range_written_out():
    space = make_space((0, 1), (0,), (3, 1))
    budget = make_budget(5, 8, space, ({0: 1, 1: 4}, {0: 2}, {3: 0, 1: 7}), base=3)
    assert budget.cost(Genotype(ops=(1, 0, 1))) == 3 + 4 + 2 + 7
    assert budget.cost.range == (3 + 1 + 2, 3 + 4 + 2 + 7)
    assert is_feasible(Genotype(ops=(0, 0, 3)), [budget])
    assert not is_feasible(Genotype(ops=(1, 0, 3)), [budget])
    assert pickle.loads(pickle.dumps(budget)) == budget  # workers get it


def test_limits_are_part_of_what_they_allow():
    budget = make_budget(5, 8, make_space((0,)), ({0: 5},))
    assert [budget.admits(cost) for cost in (4.9, 5, 8, 8.1)] == [False, True, True, False]


def test_the_digest_tells_costs_apart_whatever_their_limits():
    space = make_space((0, 1), (0, 1))
    columns = ({0: 1, 1: 4}, {0: 2, 1: 3})
    budget = make_budget(0, 9, space, columns, base=3)
    assert budget.cost.digest == make_budget(1, 5, space, columns, base=3).cost.digest
    others = [
        make_budget(0, 9, space, columns, base=4),
        make_budget(0, 9, space, ({0: 1, 1: 4}, {0: 2, 1: 5}), base=3),
        make_budget(0, 9, space, columns[::-1], base=3),
    ]
    assert budget.cost.digest not in {other.cost.digest for other in others}


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "float"])
@pytest.mark.parametrize("seed", range(5))
def test_feasible_is_brute_force_in_lexicographic_order(seed, whole):
    options = [(0, 1, 2, 3), (2, 0), (5,), (0, 1, 2), (1, 0, 2)]
    space = make_space(*options)
    random = Random(seed)
    one, other = (random_budget(space, random, whole=whole) for _ in range(2))
    for budgets in ([one], [one, other], []):
        found = feasible_genotypes(space, budgets)
        assert found == brute_force(operations(*options), budgets)
        assert found and (not budgets or len(found) < 72)
    # A narrower space within the same limits: some choices are decided.
    decided = [(3,), (0, 2), (5,), (1,), (0, 1, 2)]
    narrow = make_space(*decided)
    costs = one.cost
    columns = [{o: costs.options[c.name][o] for o in c.options} for c in narrow.choices]
    limited = make_budget(one.low, one.high, narrow, columns, costs.base)
    found = [narrow.genotype(values) for values in iterate_feasible(narrow, [limited])]
    assert found == brute_force(operations(*decided), [one])  # of some seeds none


def test_a_limit_is_met_exactly():
    space = make_space(*[(0, 1)] * 20)
    whole = make_budget(3e9 + 1, 3e9 + 1, space, ({0: 0, 1: 1},) * 20, 3 * 10**9)
    assert len(feasible_genotypes(space, [whole])) == 20
    # In tenths, no sum of floats is exact: what counts is the sum as it is.
    tenths = make_budget(0.3, 0.6, make_space(*[(0, 1)] * 8), ({0: 0.0, 1: 0.1},) * 8)
    expected = brute_force(operations(*[(0, 1)] * 8), [tenths])
    assert feasible_genotypes(tenths.cost.space, [tenths]) == expected
    assert all(is_feasible(genotype, [tenths]) for genotype in expected)


def test_a_prefix_without_hope_is_dropped_early():
    # 2^60 genotypes, of which one is within the limit.
    space = make_space(*[(0, 1)] * 60)
    budget = make_budget(60, 60, space, ({0: 0, 1: 1},) * 60)
    assert feasible_genotypes(space, [budget]) == [Genotype(ops=(1,) * 60)]


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ([], None),
        ([0, 300e6], (0.0, 3e8)),
        (["0", "300e6"], (0.0, 3e8)),  # what YAML makes of 300e6
        ((2.5, 2.5), (2.5, 2.5)),
    ],
)
def test_limits_are_two_numbers_or_none(limits, expected):
    assert parse_limits("SEARCH.BUDGET.MACS", limits, "[0, 300e6]") == expected


@pytest.mark.parametrize(
    "limits",
    [
        *([1], [1, 2, 3], [2, 1], [-1, 2], [0, True], [0, None], ["low", 2], [0, [1]]),
        *([0, float("inf")], [float("nan"), 1], [0, "nan"], [None, 1, 2]),
    ],
    ids=repr,
)
def test_malformed_limits_are_refused_with_an_example(limits):
    words = f"SEARCH.BUDGET.MACS is {limits}; expected [least, most], e.g. [0, 300e6]"
    with pytest.raises(ValueError, match=re.escape(words)):
        parse_limits("SEARCH.BUDGET.MACS", limits, "[0, 300e6]")


@pytest.mark.parametrize("seed", range(3))
def test_the_fraction_is_that_of_all_genotypes(seed, monkeypatch):
    options = [(0, 1, 2, 3)] * 4 + [(0, 1)] * 3
    space = make_space(*options)
    random = Random(seed)
    budgets = [random_budget(space, random) for _ in range(2)]
    assert space.size == 2048 and feasible_fraction(space, ()).value == 1
    sampled = check_fraction(space, operations(*options), budgets, monkeypatch)
    assert sampled == feasible_fraction(space, budgets)


@pytest.mark.parametrize("blocks", [20, 40])
def test_the_fraction_of_a_large_space_is_counted_by_totals(blocks):
    space = make_space(*[(0, 1, 2, 3)] * blocks)
    # Like those of DetNAS's blocks: few different ones, and some in every stage.
    costs = tuple({0: 9, 1: 25 - i % 3, 2: 49, 3: 60 + i % 2} for i in range(blocks))
    budget = make_budget(30 * blocks, 36 * blocks, space, costs, 5)
    fraction = feasible_fraction(space, (budget,))
    random = Random(1)
    samples = [Genotype(ops=random.choices(range(4), k=blocks)) for _ in range(10_000)]
    number = len(brute_force(samples, [budget]))
    assert fraction.is_exact and 0.2 < fraction.value < 0.8
    assert fraction.value == pytest.approx(number / 10_000, abs=0.025)  # 5 standard errors


def test_a_rare_genotype_of_a_large_space_is_counted():
    space = make_space(*[(0, 1, 2, 3)] * 20)
    budget = make_budget(0, 1, space, ({0: 0, 1: 1, 2: 2, 3: 3},) * 20)
    assert feasible_fraction(space, (budget,)).value == 21 / 4**20


def test_the_fraction_of_costs_without_common_totals_is_estimated():
    random = Random(0)
    space = make_space(*[(0, 1, 2, 3)] * 40)
    costs = tuple({option: random.random() for option in range(4)} for _ in range(40))
    cost = make_budget(0, 0, space, costs, 2.0, name="LATENCY", unit="ms").cost
    least, greatest = cost.range
    fraction = feasible_fraction(space, [Budget(cost, least, (least + greatest) / 2)])
    assert not fraction.is_exact and 0.2 < fraction.value < 0.8
    assert str(fraction) == f"about {100 * fraction.value:.3g} %"


def test_an_unreachable_limit_names_key_limits_and_range():
    space = make_space(*[(0, 1)] * 20)
    costs = ({0: 100_000_000, 1: 290_400_000},) * 20
    budget = make_budget(0, 1.5e9, space, costs, 400_000)
    limits, totals = r"SEARCH\.BUDGET\.MACS \[0, 1\.5 G\]", r"totals: 2\.0004 G, 2\.1908 G"
    with pytest.raises(ValueError, match=rf"{limits}.*{totals}.*5\.8084 G MACs"):
        check_budgets(space, [budget])


def test_many_totals_are_told_as_a_range():
    random = Random(0)
    space = make_space(*[(0, 1, 2, 3)] * 12)
    costs = tuple({op: random.randrange(10**6, 10**7) for op in range(4)} for _ in range(12))
    budget = make_budget(0, 5e6, space, costs, name="PARAMETERS", unit="parameters")
    least, greatest = (sum(pick(column.values()) for column in costs) for pick in (min, max))
    words = f"Reachable: {least / 1e6:.5g} M to {greatest / 1e6:.5g} M parameters."
    with pytest.raises(ValueError, match=re.escape(words)):
        check_budgets(space, [budget])


def test_a_gap_between_reachable_totals_is_an_error_too():
    space, costs = make_space(*[(0, 1)] * 30), ({0: 0, 1: 10},) * 30
    budget = make_budget(15, 18, space, costs)
    # Together with another limit, genotypes of so large a space are sampled, not counted.
    other = make_budget(0, 300, space, costs, name="PARAMETERS", unit="parameters")
    for budgets in ([budget], [other, budget]):
        with pytest.raises(ValueError, match=r"MACS \[15, 18\]\. Reachable totals: 0, 10, 20"):
            check_budgets(space, budgets)


def test_limits_that_exclude_each_other_are_refused_together():
    space, costs = make_space(*[(0, 1, 2)] * 3), ({0: 1, 1: 2, 2: 3},) * 3
    few = make_budget(0, 4, space, costs)
    many = make_budget(8, 9, space, costs, name="PARAMETERS", unit="parameters")
    reachable = r"3 to 9 MACs reachable, 14\.8 % of the space"
    limits = r"SEARCH\.BUDGET\.MACS \[0, 4\].*PARAMETERS \[8, 9\]"
    for refuse in (check_budgets, feasible_genotypes):
        with pytest.raises(ValueError, match=f"{reachable}.*{limits}"):
            refuse(space, [few, many])


def test_what_is_reachable_and_how_much_of_the_space_is_feasible_is_told():
    space = make_space((0, 1), (0, 1))
    budget = make_budget(0, 300e6, space, ({0: 0, 1: 50_000_000},) * 2, 210_400_000)
    columns = ({0: 0.5, 1: 1.0},) * 2
    other = make_budget(1, 2.5, space, columns, 0.25, name="LATENCY", unit="ms")
    assert check_budgets(space, []) == []
    satisfies = "of the space satisfies SEARCH.BUDGET"
    assert check_budgets(space, [budget, other]) == [
        f"210.4 M to 310.4 M MACs reachable, 75 % {satisfies}.MACS [0, 300 M]",
        f"1.25 to 2.25 ms reachable, 100 % {satisfies}.LATENCY [1, 2.5]",
        "75 % of the space satisfies these limits together",
    ]


def test_a_limit_that_almost_all_genotypes_satisfy_says_so():
    space = make_space(*[(0, 1)] * 14)
    budget = make_budget(0, 13, space, ({0: 0, 1: 1},) * 14)
    [line] = check_budgets(space, [budget])
    assert "all but 0.0061 % of the space satisfies" in line  # 1 of 2**14
    assert line.endswith("so it excludes almost nothing")
    all_of_them = make_budget(0, 14, space, ({0: 0, 1: 1},) * 14)
    assert "100 % of the space satisfies" in check_budgets(space, [all_of_them])[0]


@pytest.mark.parametrize(("most", "warned"), [(1, True), (40, False)])
def test_a_limit_that_almost_no_genotype_satisfies_is_warned_of(most, warned, caplog):
    space = make_space(*[(0, 1, 2, 3)] * 20)
    budget = make_budget(0, most, space, ({0: 0, 1: 1, 2: 2, 3: 3},) * 20)
    [line] = check_budgets(space, [budget])
    assert line.startswith("0 to 60 MACs reachable") and f"MACS [0, {most}]" in line
    assert [line in record.getMessage() for record in caplog.records] == [True] * warned
