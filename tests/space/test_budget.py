import pickle
from itertools import product
from random import Random

import pytest

from crnas_d2.space import Budget, Choice, Genotype, SearchSpace, check_budgets, parse_limits
from crnas_d2.space import share as share_module
from crnas_d2.space.budget import affordable
from crnas_d2.space.share import share_within


def make_space(*options):
    choices = tuple(Choice(f"res2.{i}.op", values) for i, values in enumerate(options))
    return SearchSpace("operation", "ops", choices)


def random_budget(options, random, key="SEARCH.BUDGET.MACS", whole=True):
    """Random costs, and limits that cut on both sides."""

    def draw():
        return random.randrange(1, 60) if whole else random.uniform(1, 60)

    costs = tuple({option: draw() for option in values} for values in options)
    base = draw()
    totals = sorted(base + sum(chosen) for chosen in product(*(c.values() for c in costs)))
    low, high = totals[len(totals) // 5], totals[len(totals) * 3 // 5]
    return Budget(key, low, high, costs, base, "MACs")


def brute_force(options, budgets):
    return [
        chosen
        for chosen in product(*options)
        if all(budget.low <= budget.cost(chosen) <= budget.high for budget in budgets)
    ]


# -------------------------------------------------------------------- budgets


def test_cost_and_reach_written_out():
    budget = Budget("SEARCH.BUDGET.MACS", 5, 8, ({0: 1, 1: 4}, {0: 2}, {3: 0, 1: 7}), base=3)
    assert budget.cost((1, 0, 1)) == 3 + 4 + 2 + 7
    assert budget.reach == (3 + 1 + 2, 3 + 4 + 2 + 7)
    assert budget.admits((0, 0, 3)) and not budget.admits((1, 0, 3))
    assert pickle.loads(pickle.dumps(budget)) == budget  # workers get it


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "float"])
@pytest.mark.parametrize("seed", range(5))
def test_affordable_is_brute_force_in_lexicographic_order(seed, whole):
    options = [(0, 1, 2, 3), (2, 0), (5,), (0, 1, 2), (1, 0, 2)]
    random = Random(seed)
    one, other = (random_budget(options, random, whole=whole) for _ in range(2))
    for budgets in ([one], [one, other], []):
        found = list(affordable(options, budgets))
        assert found == brute_force(options, budgets)
        assert found and (not budgets or len(found) < 72)
    assert list(one.affordable(options)) == brute_force(options, [one])
    # Some choices are decided: fewer options than there are costs.
    decided = [(3,), (0, 2), (5,), (1,), (0, 1, 2)]
    assert list(affordable(decided, [one])) == brute_force(decided, [one])


def test_a_limit_is_met_exactly():
    options = [(0, 1)] * 20
    whole = Budget("SEARCH.BUDGET.MACS", 3e9 + 1, 3e9 + 1, ({0: 0, 1: 1},) * 20, 3 * 10**9)
    assert len(list(whole.affordable(options))) == 20
    # In tenths, no sum of floats is exact: what counts is whether admits() says so.
    tenths = Budget("SEARCH.BUDGET.LATENCY", 0.3, 0.6, ({0: 0.0, 1: 0.1},) * 8)
    assert list(tenths.affordable([(0, 1)] * 8)) == brute_force([(0, 1)] * 8, [tenths])


def test_a_branch_without_hope_is_left_early():
    # 2^60 genotypes, of which one is within the limit.
    budget = Budget("SEARCH.BUDGET.MACS", 60, 60, ({0: 0, 1: 1},) * 60)
    assert list(budget.affordable([(0, 1)] * 60)) == [(1,) * 60]


# ---------------------------------------------------------------------- limits


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
    with pytest.raises(ValueError) as error:
        parse_limits("SEARCH.BUDGET.MACS", limits, "[0, 300e6]")
    message = str(error.value)
    assert f"SEARCH.BUDGET.MACS is {list(limits)}" in message
    assert "[least, most], e.g. [0, 300e6]" in message


# ----------------------------------------------------------------------- share


@pytest.mark.parametrize("seed", range(3))
def test_the_share_is_that_of_all_genotypes(seed, monkeypatch):
    options = [(0, 1, 2, 3)] * 4 + [(0, 1)] * 3
    random = Random(seed)
    budgets = [random_budget(options, random) for _ in range(2)]
    one = len(brute_force(options, budgets[:1])) / 2048
    both = len(brute_force(options, budgets)) / 2048
    space = make_space(*options)
    assert space.share(()).value == 1
    counted = [space.share(budgets[:1]), space.share(budgets)]
    assert [share.value for share in counted] == [one, both]
    assert all(share.is_exact for share in counted)
    # The ways of large spaces.
    monkeypatch.setattr(share_module, "_MOST_COUNTED", 0)
    assert space.share(budgets[:1]) == counted[0]
    drawn = space.share(budgets)
    assert not drawn.is_exact and drawn == space.share(budgets)
    assert drawn.value == pytest.approx(both, abs=0.01)  # 6 standard errors


def shuffle_like(blocks):
    """Costs like those of DetNAS's blocks: few different ones, and some in every stage."""
    return tuple({0: 9, 1: 25 - i % 3, 2: 49, 3: 60 + i % 2} for i in range(blocks))


@pytest.mark.parametrize("blocks", [20, 40])
def test_the_share_of_a_large_space_is_counted_by_totals(blocks):
    costs = shuffle_like(blocks)
    budget = Budget("SEARCH.BUDGET.MACS", 30 * blocks, 36 * blocks, costs, 5)
    share = make_space(*[(0, 1, 2, 3)] * blocks).share((budget,))
    random = Random(1)
    drawn = [budget.admits([random.randrange(4) for _ in range(blocks)]) for _ in range(10_000)]
    assert share.is_exact and 0.2 < share.value < 0.8
    assert share.value == pytest.approx(sum(drawn) / 10_000, abs=0.025)  # 5 standard errors


def test_a_rare_genotype_of_a_large_space_is_counted():
    budget = Budget("SEARCH.BUDGET.MACS", 0, 1, ({0: 0, 1: 1, 2: 2, 3: 3},) * 20)
    assert make_space(*[(0, 1, 2, 3)] * 20).share((budget,)).value == 21 / 4**20


def test_the_share_of_costs_without_common_totals_is_estimated():
    random = Random(0)
    costs = tuple({option: random.random() for option in range(4)} for _ in range(40))
    least, greatest = Budget("SEARCH.BUDGET.LATENCY", 0, 0, costs, 2.0).reach
    budget = Budget("SEARCH.BUDGET.LATENCY", least, (least + greatest) / 2, costs, 2.0, "ms")
    share = share_within([(0, 1, 2, 3)] * 40, [budget])
    assert not share.is_exact and 0.2 < share.value < 0.8
    assert str(share) == f"about {100 * share.value:.3g} %"


# ---------------------------------------------------------------------- checks


def test_an_unreachable_limit_names_key_limits_and_range():
    costs = ({0: 100_000_000, 1: 290_400_000},) * 20
    space = make_space(*[(0, 1)] * 20)
    budget = Budget("SEARCH.BUDGET.MACS", 0, 1.5e9, costs, 400_000, "MACs")
    with pytest.raises(ValueError) as error:
        check_budgets(space, [budget])
    message = str(error.value)
    assert "SEARCH.BUDGET.MACS [0, 1.5 G]" in message
    assert "totals: 2.0004 G, 2.1908 G" in message and "5.8084 G MACs" in message


def test_many_totals_are_told_as_a_range():
    random = Random(0)
    costs = tuple({op: random.randrange(10**6, 10**7) for op in range(4)} for _ in range(12))
    budget = Budget("SEARCH.BUDGET.PARAMETERS", 0, 5e6, costs, 0, "parameters")
    least, greatest = budget.reach
    with pytest.raises(ValueError) as error:
        check_budgets(make_space(*[(0, 1, 2, 3)] * 12), [budget])
    expected = f"Reachable: {least / 1e6:.5g} M to {greatest / 1e6:.5g} M parameters."
    assert expected in str(error.value)


def test_a_gap_between_reachable_totals_is_an_error_too():
    budget = Budget("SEARCH.BUDGET.MACS", 15, 18, ({0: 0, 1: 10},) * 30, 0, "MACs")
    # Together with another limit, genotypes of so large a space are drawn, not counted.
    other = Budget("SEARCH.BUDGET.PARAMETERS", 0, 300, ({0: 0, 1: 10},) * 30, 0, "parameters")
    for budgets in ([budget], [other, budget]):
        with pytest.raises(ValueError, match=r"MACS \[15, 18\]\. Reachable totals: 0, 10, 20"):
            check_budgets(make_space(*[(0, 1)] * 30), budgets)


def test_limits_that_exclude_each_other_are_refused_together():
    costs = ({0: 1, 1: 2, 2: 3},) * 3
    few = Budget("SEARCH.BUDGET.MACS", 0, 4, costs, 0, "MACs")
    many = Budget("SEARCH.BUDGET.PARAMETERS", 8, 9, costs, 0, "parameters")
    space = make_space(*[(0, 1, 2)] * 3)
    for refuse in (check_budgets, lambda space, budgets: space.eligible(budgets)):
        with pytest.raises(ValueError) as error:
            refuse(space, [few, many])
        message = str(error.value)
        assert "SEARCH.BUDGET.MACS [0, 4]" in message and "PARAMETERS [8, 9]" in message
        assert "3 to 9 MACs reachable, 14.8 % of the space" in message


def test_what_is_reachable_and_how_much_of_the_space_is_within_is_told():
    costs = ({0: 0, 1: 50_000_000},) * 2
    budget = Budget("SEARCH.BUDGET.MACS", 0, 300e6, costs, 210_400_000, "MACs")
    other = Budget("SEARCH.BUDGET.LATENCY", 1, 2.5, ({0: 0.5, 1: 1.0},) * 2, 0.25, "ms")
    space = make_space((0, 1), (0, 1))
    assert check_budgets(space, []) == []
    assert check_budgets(space, [budget, other]) == [
        "210.4 M to 310.4 M MACs reachable, 75 % of the space within SEARCH.BUDGET.MACS [0, 300 M]",
        "1.25 to 2.25 ms reachable, 100 % of the space within SEARCH.BUDGET.LATENCY [1, 2.5]",
        "75 % of the space within these limits together",
    ]


@pytest.mark.parametrize(("most", "warned"), [(1, True), (40, False)])
def test_a_limit_that_hardly_a_genotype_meets_is_warned_of(most, warned, caplog):
    budget = Budget("SEARCH.BUDGET.MACS", 0, most, ({0: 0, 1: 1, 2: 2, 3: 3},) * 20, 0, "MACs")
    [line] = check_budgets(make_space(*[(0, 1, 2, 3)] * 20), [budget])
    assert line.startswith("0 to 60 MACs reachable") and f"MACS [0, {most}]" in line
    assert [line in record.getMessage() for record in caplog.records] == [True] * warned


def test_a_space_admits_what_it_lists():
    options = [(0, 1, 2), (0, 1), (0, 1, 2, 3)]
    random = Random(0)
    budgets = [random_budget(options, random) for _ in range(2)]
    space = make_space(*options)
    eligible = space.eligible(budgets)
    assert eligible == [genotype for genotype in space if space.admits(genotype, budgets)]
    assert Genotype(ops=brute_force(options, budgets)[0]) == eligible[0]
