"""search_net.py with searches that an Optuna sampler leads: evolution, random, two objectives."""

import pytest
import toy
from scripts import finished_trials, kill_after, read_candidates, run, start

from crnas_d2.config import NetworkSpec
from crnas_d2.cost import MACs
from crnas_d2.space import Genotype

SEARCH = {
    "SEARCH.BUDGET.BLOCKS": [],
    "SEARCH.IMS_PER_BATCH": 1,
    "SEARCH.EVOLUTION.POPULATION": 4,
    "SEARCH.EVOLUTION.GENERATIONS": 2,
    "SEARCH.EVOLUTION.PARENTS": 2,
    # An untrained detector is unsure, so every detection counts: no candidate fails.
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.0,
}


@pytest.fixture(scope="module")
def macs():
    """From a genotype of the toy space to its cost."""
    cfg = toy.supernet_config()
    return MACs().table(NetworkSpec.from_config(cfg), (toy.SIZE, toy.SIZE))


@pytest.fixture(scope="module")
def most(macs):
    """The limit of the searches: of the 16 genotypes, those of up to 8 blocks satisfy it."""
    return macs(Genotype((2, 2, 2, 2)))


@pytest.fixture(scope="module")
def search_opts(trained, toy_datasets, most):
    def opts(output, algorithm, *overrides):
        search = {**SEARCH, "SEARCH.BUDGET.MACS": [0, most], "SEARCH.ALGORITHM": algorithm}
        paths = {"MODEL.WEIGHTS": trained.MODEL.WEIGHTS, "OUTPUT_DIR": output}
        return toy.as_arguments(toy.TINY, toy.STAGE_SPACE, toy_datasets, search, paths, *overrides)

    return opts


def genotypes(rows):
    names = [f"res{stage}.depth" for stage in range(2, 6)]
    return [Genotype(tuple(int(row[name]) for name in names)) for row in rows]


@pytest.mark.slow
def test_a_killed_evolution_goes_on_to_the_result_of_an_uninterrupted_one(
    tmp_path, search_opts, macs, most
):
    opts = search_opts(tmp_path / "killed", "evolution")
    process = start("search_net.py", toy.SUPERNET, opts=opts)
    kill_after(process, tmp_path / "killed" / "search.db", 5)
    assert 5 <= finished_trials(tmp_path / "killed" / "search.db") < 8
    run("search_net.py", toy.SUPERNET, "--resume", opts=opts)

    printed = run("search_net.py", toy.SUPERNET, opts=search_opts(tmp_path / "whole", "evolution"))
    rows = read_candidates(tmp_path / "whole")
    assert read_candidates(tmp_path / "killed") == rows
    found = genotypes(rows)
    assert len(set(found)) == len(rows) == 8
    costs = [int(row["macs"]) for row in rows]
    assert costs == [macs(genotype) for genotype in found] and max(costs) <= most
    assert "MACs reachable" in printed and "of the space satisfies SEARCH.BUDGET.MACS" in printed


def test_random_search_is_one_config_line_away(tmp_path, search_opts):
    run("search_net.py", toy.SUPERNET, opts=search_opts(tmp_path / "random", "random"))
    found = genotypes(read_candidates(tmp_path / "random"))
    assert len(set(found)) == len(found) == 8
    best = Genotype.from_yaml(tmp_path / "random" / "genotype.yaml")
    assert best == found[0]


@pytest.mark.slow
def test_two_objectives_end_in_a_pareto_front(tmp_path, search_opts):
    overrides = {
        "SEARCH.OPTUNA.SAMPLER": "NSGAIISampler",
        "SEARCH.SECOND_OBJECTIVE": "PARAMETERS",
        "SEARCH.BUDGET.MACS": [],
    }
    opts = search_opts(tmp_path / "two", "optuna", overrides)
    run("search_net.py", toy.SUPERNET, "--num-workers", "2", opts=opts)
    found = genotypes(read_candidates(tmp_path / "two"))
    assert len(set(found)) == len(found) >= 8
    assert "Pareto front" in (tmp_path / "two" / "report.html").read_text()


def test_random_networks_are_drawn_within_the_budget(tmp_path, search_opts, macs, most):
    opts = ["--number", "3", "--output", str(tmp_path / "drawn"), *search_opts(tmp_path, "random")]
    printed = run("tools/random_genotypes.py", toy.SUPERNET, opts=opts)
    files = sorted((tmp_path / "drawn").iterdir())
    assert [file.name for file in files] == [f"random-{number}.yaml" for number in (1, 2, 3)]
    drawn = [Genotype.from_yaml(file) for file in files]
    assert len(set(drawn)) == 3 and all(macs(genotype) <= most for genotype in drawn)
    assert all(str(genotype) in printed for genotype in drawn)
