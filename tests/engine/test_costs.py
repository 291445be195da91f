"""Costs by name: columns of a search's results, limits and objectives."""

import re

import pytest
import torch
import toy
from scripts import read_candidates, run, run_here

from crnas_d2.config import NetworkSpec, load_config
from crnas_d2.cost import build_costs
from crnas_d2.engine import Trainer
from crnas_d2.space import Genotype

COSTS = ["BLOCKS", "MACS", "PARAMETERS", "LATENCY"]
KNOWN = "BLOCKS, MACS, PARAMETERS, LATENCY"  # then those of plug-ins that this process imported


@pytest.fixture
def overrides(tmp_path, toy_datasets):
    """The search of two subnets of an untrained supernet."""
    overrides = {
        **toy.TINY,
        **toy.STAGE_SPACE,
        **toy_datasets,
        "MODEL.SUPERNET.STAGE_OPTIONS": [[1, 2], [1], [2], [2, 3]],
        "MODEL.WEIGHTS": str(tmp_path / "model.pth"),
        "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.0,
        "SEARCH.BUDGET.BLOCKS": [7, 7],
        "SEARCH.COSTS": COSTS,
        "OUTPUT_DIR": str(tmp_path / "search"),
    }
    model = Trainer.build_model(toy.supernet_config(overrides))
    torch.save({"model": model.state_dict()}, overrides["MODEL.WEIGHTS"])
    return overrides


def test_the_named_costs_are_columns_of_the_candidates_and_of_the_report(overrides, tmp_path):
    printed = run("search_net.py", toy.SUPERNET, opts=toy.as_arguments(overrides))
    # Before there is a log, but not unseen.
    for text in (printed, (tmp_path / "search" / "log.txt").read_text()):
        assert re.search(r"latency\.json: the sums are within \d+\.\d % of \d whole networks", text)
    cfg = toy.supernet_config(overrides)
    costs = build_costs(cfg, NetworkSpec.from_config(cfg))  # the latencies that were measured
    rows = read_candidates(tmp_path / "search")
    assert len(rows) == 2
    for row in rows:
        assert list(row)[-5:] == [*(name.lower() for name in COSTS), "pareto"]
        genotype = Genotype(tuple(int(row[f"res{stage}.depth"]) for stage in range(2, 6)))
        for name in COSTS:
            assert float(row[name.lower()]) == costs[name](genotype) > 0
    assert {float(row["blocks"]) for row in rows} == {7}
    report = (tmp_path / "search" / "report.html").read_text()
    table = report[report.index("<th>bbox/AP</th>") : report.index("</table>")]
    assert all(f"<th>{unit}</th>" in table for unit in ("parameters", "ms"))
    assert " blocks 7, MACs " in report  # the same for both, perhaps after other columns


def test_a_limited_or_minimized_cost_is_a_column_without_being_named():
    limits = {"SEARCH.BUDGET.PARAMETERS": [0, 1e9], "SEARCH.SECOND_OBJECTIVE": "MACS"}
    cfg = toy.supernet_config(limits, {"SEARCH.COSTS": []})
    assert list(build_costs(cfg, NetworkSpec.from_config(cfg))) == ["BLOCKS", "MACS", "PARAMETERS"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"SEARCH.COSTS": ["MACS", "WATTS"]}, rf"SEARCH\.COSTS is 'WATTS'; known: {KNOWN}"),
        ({"SEARCH.COSTS": ["macs"]}, rf"SEARCH\.COSTS is 'macs'; known: {KNOWN}"),
        (
            {"SEARCH.ALGORITHM": "optuna", "SEARCH.SECOND_OBJECTIVE": "WATTS"},
            rf"SEARCH\.SECOND_OBJECTIVE is 'WATTS'; known: {KNOWN}",
        ),
        ({"SEARCH.BUDGET.WATTS": [0, 1]}, rf"SEARCH\.BUDGET\.WATTS.* Known costs: {KNOWN}[.,]"),
    ],
    ids=["column", "lower case", "objective", "limit"],
)
def test_an_unknown_cost_is_refused_with_those_that_are_known(
    monkeypatch, overrides, tmp_path, change, words
):
    opts = toy.as_arguments(overrides, change)
    message = run_here(monkeypatch, "search_net.py", toy.SUPERNET, opts=opts)
    assert re.search(words, message) and "\n" not in message
    assert not (tmp_path / "search").exists()


def test_an_unknown_limit_in_a_file_is_refused_with_those_that_are_known(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(f"_BASE_: {toy.SUPERNET}\nSEARCH:\n  BUDGET: {{WATTS: [0, 1]}}\n")
    with pytest.raises(ValueError, match=rf"SEARCH\.BUDGET\.WATTS.* Known costs: {KNOWN}[.,]"):
        load_config(str(config), [])
