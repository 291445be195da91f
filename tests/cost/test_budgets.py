import pytest
import toy

from crnas_d2.config import NetworkSpec
from crnas_d2.cost import build_budgets, build_costs, counted, latency, latency_meter
from crnas_d2.space import check_budgets, feasible_genotypes

STAGE = {"SEARCH.BUDGET.BLOCKS": []}


def budgets_of(cfg):
    return build_budgets(cfg, build_costs(cfg, NetworkSpec.from_config(cfg)))


def test_without_limits_there_is_nothing_to_measure(monkeypatch):
    monkeypatch.setattr(counted, "meta_body", None)
    monkeypatch.setattr(latency, "build_meter", None)
    no_columns = {"SEARCH.COSTS": []}
    assert budgets_of(toy.supernet_config(STAGE, no_columns)) == ()
    [blocks] = budgets_of(toy.supernet_config(no_columns))
    assert blocks.key == "SEARCH.BUDGET.BLOCKS" and (blocks.low, blocks.high) == (8, 8)


def test_all_limits_hold_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(latency_meter, "_LEAST_ROUNDS", 2)
    monkeypatch.setattr(latency_meter, "_MOST_ROUNDS", 2)
    cfg = toy.supernet_config({"OUTPUT_DIR": str(tmp_path)})
    spec = NetworkSpec.from_config(cfg)
    tables = build_costs(cfg, spec)
    assert list(tables) == ["BLOCKS", "MACS", "PARAMETERS"]
    eight = [genotype for genotype in spec.space if sum(genotype.depths) == 8]
    counts = {g: (tables["MACS"](g), tables["PARAMETERS"](g)) for g in eight}
    macs, parameters = map(sorted, zip(*counts.values(), strict=True))
    cfg.SEARCH.BUDGET.MACS = [macs[1], macs[-1]]
    cfg.SEARCH.BUDGET.PARAMETERS = [0, str(float(parameters[-2]))]
    cfg.SEARCH.BUDGET.LATENCY = [0, 1e6]
    budgets = budgets_of(cfg)
    keys = ["BLOCKS", "MACS", "PARAMETERS", "LATENCY"]
    assert [budget.key for budget in budgets] == [f"SEARCH.BUDGET.{key}" for key in keys]
    assert [budget.cost.unit for budget in budgets] == ["blocks", "MACs", "parameters", "ms"]
    expected = [g for g, (m, p) in counts.items() if macs[1] <= m and p <= parameters[-2]]
    assert 0 < len(expected) < len(counts)
    assert feasible_genotypes(spec.space, budgets) == expected
    assert check_budgets(spec.space, budgets)[-1].startswith(f"{100 * len(expected) / 16:.3g} %")
    # A search that goes on has the same limits.
    assert (tmp_path / "latency.json").exists()
    assert budgets_of(cfg) == budgets


@pytest.mark.parametrize("limits", [[1], [2e8, 1e8], [-1, 5], ["all", 5], [True, 5]])
@pytest.mark.parametrize(
    ("name", "example"),
    [("MACS", r"\[0, 300e6\]"), ("PARAMETERS", r"\[0, 5e6\]"), ("LATENCY", r"\[0, 12\.5\]")],
)
def test_malformed_limits_are_refused(name, example, limits):
    cfg = toy.supernet_config(STAGE, {f"SEARCH.BUDGET.{name}": limits})
    with pytest.raises(ValueError, match=rf"SEARCH\.BUDGET\.{name} is \[.*e\.g\. {example}"):
        budgets_of(cfg)


@pytest.mark.parametrize("text", ["[0, 300e6]", "[0, 3.0e8]", "[0.0, 3.0e+8]", "[0, 300000000]"])
def test_numbers_may_be_written_in_any_way(text, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(f"_BASE_: {toy.SUPERNET}\nSEARCH:\n  BUDGET: {{BLOCKS: [], MACS: {text}}}\n")
    opts = [*toy.as_list(toy.TINY, STAGE), "SEARCH.BUDGET.MACS", text]
    for file, overrides in ((config, toy.as_list(toy.TINY)), (toy.SUPERNET, opts)):
        [budget] = budgets_of(toy.load_config(str(file), overrides))
        assert (budget.low, budget.high) == (0, 3e8)


def test_costs_are_those_of_the_image_size_of_the_config():
    limits = {**STAGE, "SEARCH.BUDGET.MACS": [0, 1e9]}
    small, large = (
        budgets_of(toy.supernet_config(limits, {"SEARCH.COST_INPUT_SIZE": [side, side]}))[0]
        for side in (32, 64)
    )
    assert large.cost.range == tuple(4 * macs for macs in small.cost.range)
