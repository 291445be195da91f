"""CR-NAS from end to end: stage search, operation search on what it found, retraining."""

import re

import pytest
import toy
from scripts import Chain, finished_trials, kill_after, metrics, read_candidates, run, start

from crnas_d2.config import NetworkSpec, load_config
from crnas_d2.cost import MACs, Parameters
from crnas_d2.space import Genotype

OPERATION = toy.ROOT / "configs" / "letters" / "supernet-operation.yaml"
BLOCKS = 7
TOP_K = 2
NUM_CANDIDATES = 3 + 3 * TOP_K * (BLOCKS - 1)
# An untrained detector is unsure, so every detection counts: no candidate fails.
SEARCH = {
    **toy.STAGE_SPACE,
    "SEARCH.BUDGET.BLOCKS": [],
    "SEARCH.GREEDY.TOP_K": TOP_K,
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.0,
}
del SEARCH["MODEL.SUPERNET.STAGE_OPTIONS"]


@pytest.fixture(scope="module")
def chain(tmp_path_factory, toy_datasets):
    return Chain(tmp_path_factory.mktemp("hierarchy"), toy.TINY, toy_datasets)


@pytest.fixture(scope="module")
def operation_config(chain):
    """The operation level on the result of a stage search."""
    Genotype(depths=(1, 2, 2, 2)).to_yaml(chain.folder / "genotype.yaml", family="resnet")
    return chain.config("operation.yaml", "genotype.yaml", OPERATION)


@pytest.fixture(scope="module")
def supernet(chain, operation_config):
    """The name of its folder."""
    chain.run("train_net.py", operation_config, "supernet", {"SOLVER.MAX_ITER": 20})
    return "supernet"


@pytest.fixture(scope="module")
def searched(chain, operation_config, supernet):
    printed = chain.run("search_net.py", operation_config, "search", SEARCH, weights=supernet)
    return chain.folder / "search", printed


def test_the_greedy_search_names_a_whole_network_with_the_depths_it_began_with(searched):
    output, printed = searched
    found = Genotype.from_yaml(output / "genotype.yaml")
    assert found.depths == (1, 2, 2, 2) and len(found.ops) == BLOCKS
    assert f"Best: {found}" in printed
    rows = read_candidates(output)
    assert len(rows) == NUM_CANDIDATES
    complete = [row for row in rows if row["res5.1.op"] != ""]
    assert len(complete) == 3 * TOP_K
    best = max(complete, key=lambda row: float(row["fitness"]))
    places = [key for key in best if re.fullmatch(r"res\d\.\d\.op", key)]
    assert tuple(int(best[place]) for place in places) == found.ops
    assert str(found) in (output / "report.html").read_text()


@pytest.mark.parametrize("statistics", ["batch", "calibration"])
def test_killed_inside_a_level_it_goes_on_with_two_workers_to_the_same_result(
    chain, operation_config, supernet, searched, statistics
):
    overrides = (SEARCH, {"SEARCH.BN_CALIBRATION.PARTIAL": statistics})
    name = f"killed-{statistics}"
    opts = chain.opts(name, *overrides, weights=supernet)
    process = start("search_net.py", operation_config, opts=opts)
    kill_after(process, chain.folder / name / "search.db", 5)
    assert 5 <= finished_trials(chain.folder / name / "search.db") < NUM_CANDIDATES
    run("search_net.py", operation_config, "--resume", "--num-workers", "2", opts=opts)
    rows = read_candidates(chain.folder / name)
    assert len(rows) == NUM_CANDIDATES
    same = rows == read_candidates(searched[0])
    assert same == (statistics == "batch")  # the default; the other one scores otherwise


def test_every_network_of_the_operation_space_costs_the_same(operation_config):
    cfg = load_config(str(operation_config), toy.as_list(toy.TINY))
    spec = NetworkSpec.from_config(cfg)
    for cost in (MACs(), Parameters()):
        table = cost.table(spec, (toy.SIZE, toy.SIZE))
        assert len({table(genotype) for genotype in list(spec.space)[::97]}) == 1


def test_the_network_that_was_found_is_trained_and_evaluated(chain, searched):
    config = chain.config("dilated.yaml", toy.SEARCHED, "search/genotype.yaml")
    chain.run("train_net.py", config, "dilated", {"DATASETS.TEST": ("toy_test",)})
    assert any("bbox/AP" in line for line in metrics(chain.folder / "dilated"))


@pytest.mark.slow
def test_the_whole_hierarchy_on_letters(tmp_path):
    """Both levels and the comparison, with the data and the configs of make demo-crnas."""
    short = {
        "SOLVER.MAX_ITER": 60,
        "SOLVER.WARMUP_ITERS": 10,
        "SOLVER.IMS_PER_BATCH": 4,
        "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.0,
    }
    stage = {
        "MODEL.SUPERNET.STAGE_OPTIONS": [[1, 2], [1], [2], [2, 3]],
        "SEARCH.BUDGET.BLOCKS": [7, 7],
    }
    chain = Chain(tmp_path, short)
    chain.run("train_net.py", toy.SUPERNET, "supernet", stage)
    chain.run("search_net.py", toy.SUPERNET, "search", stage, weights="supernet")
    depths = Genotype.from_yaml(tmp_path / "search" / "genotype.yaml").depths
    assert sum(depths) == 7

    config = chain.config("operation.yaml", "search/genotype.yaml", OPERATION)
    chain.run("train_net.py", config, "operations")
    greedy = {"SEARCH.GREEDY.TOP_K": 1}
    chain.run("search_net.py", config, "search-operation", greedy, weights="operations")
    genotype = Genotype.from_yaml(tmp_path / "search-operation" / "genotype.yaml")
    assert genotype.depths == depths and len(genotype.ops) == 7
    assert len(read_candidates(tmp_path / "search-operation")) == 3 * 7

    config = chain.config("dilated.yaml", toy.SEARCHED, "search-operation/genotype.yaml")
    chain.run("train_net.py", config, "dilated")
    assert any("bbox/AP" in line for line in metrics(tmp_path / "dilated"))
