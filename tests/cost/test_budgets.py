import pytest
import toy

from crnas_d2.config import NetworkSpec
from crnas_d2.cost import CostTable, build_budgets, latency_meter
from crnas_d2.space import check_budgets

STAGE = {"SEARCH.BUDGET.BLOCKS": []}


def test_without_limits_there_is_nothing_to_measure(monkeypatch):
    monkeypatch.setattr("crnas_d2.analysis.budgets.CostTable", None)
    assert build_budgets(toy.supernet_config(STAGE)) == ()
    [blocks] = build_budgets(toy.supernet_config())
    assert blocks.key == "SEARCH.BUDGET.BLOCKS" and (blocks.low, blocks.high) == (8, 8)


def test_all_limits_hold_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(latency_meter, "_LEAST_ROUNDS", 2)
    monkeypatch.setattr(latency_meter, "_MOST_ROUNDS", 2)
    cfg = toy.supernet_config({"OUTPUT_DIR": str(tmp_path)})
    space = NetworkSpec.from_config(cfg).space
    table = CostTable(cfg, space, (toy.SIZE, toy.SIZE))
    costs = {genotype: table(genotype) for genotype in space if sum(genotype.depths) == 8}
    macs = sorted(cost.macs for cost in costs.values())
    parameters = sorted(cost.parameters for cost in costs.values())
    cfg.SEARCH.BUDGET.MACS = [macs[1], macs[-1]]
    cfg.SEARCH.BUDGET.PARAMETERS = [0, str(float(parameters[-2]))]
    cfg.SEARCH.BUDGET.LATENCY = [0, 1e6]
    budgets = build_budgets(cfg, space)
    keys = ["BLOCKS", "MACS", "PARAMETERS", "LATENCY"]
    assert [budget.key for budget in budgets] == [f"SEARCH.BUDGET.{key}" for key in keys]
    assert [budget.unit for budget in budgets] == ["blocks", "MACs", "parameters", "ms"]
    expected = [
        genotype
        for genotype, cost in costs.items()
        if macs[1] <= cost.macs and cost.parameters <= parameters[-2]
    ]
    assert 0 < len(expected) < len(costs)
    assert space.eligible(budgets) == expected
    assert check_budgets(space, budgets)[-1].startswith(f"{100 * len(expected) / 16:.3g} %")
    # A search that goes on has the same limits.
    assert (tmp_path / "latency.json").exists()
    assert build_budgets(cfg, space) == budgets


@pytest.mark.parametrize("limits", [[1], [2e8, 1e8], [-1, 5], ["all", 5], [True, 5]])
@pytest.mark.parametrize(
    ("name", "example"),
    [("MACS", r"\[0, 300e6\]"), ("PARAMETERS", r"\[0, 5e6\]"), ("LATENCY", r"\[0, 12\.5\]")],
)
def test_malformed_limits_are_refused(name, example, limits):
    cfg = toy.supernet_config(STAGE, {f"SEARCH.BUDGET.{name}": limits})
    with pytest.raises(ValueError, match=rf"SEARCH\.BUDGET\.{name} is \[.*e\.g\. {example}"):
        build_budgets(cfg)


@pytest.mark.parametrize("text", ["[0, 300e6]", "[0, 3.0e8]", "[0.0, 3.0e+8]", "[0, 300000000]"])
def test_numbers_may_be_written_in_any_way(text, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(f"_BASE_: {toy.SUPERNET}\nSEARCH:\n  BUDGET: {{BLOCKS: [], MACS: {text}}}\n")
    from_file = toy.load_config(str(config), toy.as_list(toy.TINY))
    given = toy.load_config(
        str(toy.SUPERNET), [*toy.as_list(toy.TINY, STAGE), "SEARCH.BUDGET.MACS", text]
    )
    for cfg in (from_file, given):
        [budget] = build_budgets(cfg)
        assert (budget.low, budget.high) == (0, 3e8)


def test_costs_are_those_of_the_image_size_of_the_config():
    limits = {**STAGE, "SEARCH.BUDGET.MACS": [0, 1e9]}
    small, large = (
        build_budgets(toy.supernet_config(limits, {"SEARCH.COST_INPUT_SIZE": [side, side]}))[0]
        for side in (32, 64)
    )
    assert large.reach == tuple(4 * cost for cost in small.reach)
