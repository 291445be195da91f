import pytest
import toy

from crnas_d2.cost import build_budgets, latency_meter
from crnas_d2.jobs.describe import describe_search
from crnas_d2.search import open_study, study_url


@pytest.fixture
def open_search(toy_datasets, tmp_path):
    """Begins, or goes on with, the search of a few overrides in one folder."""
    weights = tmp_path / "model.pth"
    weights.write_bytes(b"a supernet")
    paths = {"MODEL.WEIGHTS": str(weights), "OUTPUT_DIR": str(tmp_path)}

    def open_search(*overrides, resume=True):
        cfg = toy.supernet_config(toy_datasets, paths, *overrides)
        description = describe_search(cfg, build_budgets(cfg))
        return open_study(study_url(cfg), "search", description, resume=resume)

    return open_search


def test_a_search_does_not_go_on_with_other_latencies(open_search, tmp_path, monkeypatch):
    monkeypatch.setattr(latency_meter, "_LEAST_ROUNDS", 2)
    monkeypatch.setattr(latency_meter, "_MOST_ROUNDS", 2)
    limits = {"SEARCH.BUDGET.LATENCY": [0, 1e6]}
    open_search(limits, resume=False)
    latencies = tmp_path / "latency.json"
    measured = latencies.read_text()
    open_search(limits)

    latencies.unlink()
    refused = r"costs of SEARCH\.BUDGET\.LATENCY was .* the settings and files with which it began"
    with pytest.raises(ValueError, match=refused):
        open_search(limits)
    latencies.write_text(measured)
    open_search(limits)


def test_a_search_does_not_go_on_with_the_macs_of_another_image_size(open_search):
    limits = {"SEARCH.BUDGET.MACS": [0, 1e12]}
    open_search(limits, resume=False)
    open_search(limits)
    with pytest.raises(ValueError, match=r"costs of SEARCH\.BUDGET\.MACS was"):
        open_search(limits, {"SEARCH.COST_INPUT_SIZE": [32, 32]})
