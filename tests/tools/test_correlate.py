"""Stand-alone trainings and supernet scores of the same networks, kept and never done twice."""

import json
import runpy
import sys

import numpy as np
import pytest
import toy
import yaml

from crnas_d2.evaluation.rank_correlation import rank_correlation
from crnas_d2.report import describe_ranking
from crnas_d2.runs.ranking import read_ranking
from crnas_d2.runs.training import config_digest

TOOL = str(toy.ROOT / "tools" / "correlate.py")
DEPTHS = [[1, 1, 2, 2], [2, 2, 2, 2], [1, 2, 3, 3]]


def correlate(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", [TOOL, *map(str, arguments)])
    runpy.run_path(TOOL, run_name="__main__")


@pytest.fixture
def train(monkeypatch, toy_datasets, tmp_path):
    """Trains three networks with the given seeds; the results file."""
    (tmp_path / "networks.yaml").write_text(yaml.safe_dump([{"DEPTHS": d} for d in DEPTHS]))
    test = {"DATASETS.TEST": toy_datasets["DATASETS.ARCHVAL"], "SOLVER.MAX_ITER": 2}
    options = toy.as_arguments(toy.TINY, toy_datasets, test)

    def train(*seeds):
        correlate(
            monkeypatch,
            *("train", tmp_path / "stage.json", "--config-file", toy.SEARCHED),
            *("--genotypes", tmp_path / "networks.yaml", "--seeds", *seeds),
            *("--runs", tmp_path / "runs", "--num-workers", 2, "--opts", *options),
        )
        return tmp_path / "stage.json"

    return train


@pytest.mark.slow
def test_networks_are_trained_once_scored_and_compared(
    train, trained, monkeypatch, toy_datasets, tmp_path, capsys
):
    results = train(1)
    content = json.loads(results.read_text())
    trained_depths = sorted(run["genotype"]["DEPTHS"] for run in content["runs"])
    assert trained_depths == sorted(DEPTHS) and "correlate.py train" in content["command"]
    first = content["runs"][0]
    assert first["seed"] == 1 and first["iterations"] == 2
    assert first["macs"] > 0 and first["params"] > 0 and first["AP"] >= 0
    folders = sorted((tmp_path / "runs").iterdir())
    digests = sorted(run["config_digest"] for run in content["runs"])
    assert [folder.name for folder in folders] == digests

    written = {folder: (folder / "metrics.json").stat().st_mtime_ns for folder in folders}
    train(1)
    assert json.loads(results.read_text())["runs"] == content["runs"]
    assert {f: (f / "metrics.json").stat().st_mtime_ns for f in folders} == written

    search = {"MODEL.WEIGHTS": trained.MODEL.WEIGHTS, "OUTPUT_DIR": str(tmp_path / "score")}
    options = toy.as_arguments(toy.TINY, toy.STAGE_SPACE, toy_datasets, search)
    scores = tmp_path / "stage-supernet.json"
    arguments = ("score", results, scores, "--config-file", toy.SUPERNET, "--opts", *options)
    correlate(monkeypatch, *arguments)
    assert json.loads(scores.read_text())["command"].startswith("python tools/correlate.py score")
    found = json.loads(scores.read_text())["scores"]
    assert sorted(score["genotype"]["DEPTHS"] for score in found) == sorted(DEPTHS)
    assert all(score["fitness"] > 0 for score in found)
    capsys.readouterr()
    correlate(monkeypatch, *arguments)
    assert json.loads(scores.read_text())["scores"] == found
    assert capsys.readouterr().out == ""

    correlate(monkeypatch, "report", results, scores)
    report = capsys.readouterr().out
    assert "3 networks" in report and "stage-supernet" in report and "MACs" in report


def write(path, key, entries):
    path.write_text(json.dumps({"command": "", key: entries}))
    return path


def test_the_report_counts_seeds_as_noise_and_networks_as_spread(tmp_path):
    runs = [
        {"genotype": {"DEPTHS": [depth]}, "seed": seed, "AP": 10 * depth + noise}
        | {"macs": depth * 1e6, "params": 1e3}
        for depth in (1, 2, 3)
        for seed, noise in ((1, -1.0), (2, 1.0))
    ]
    results = write(tmp_path / "r.json", "runs", runs)
    entries = [{"genotype": {"DEPTHS": [d]}, "fitness": -d} for d in (1, 2, 3)]
    wrong = write(tmp_path / "wrong.json", "scores", entries)
    text = describe_ranking(read_ranking(results, [wrong]))
    assert "3 networks, standard deviation of their means 10.00 AP." in text
    assert "pooled standard deviation 1.41 AP (3 degrees of freedom)" in text  # sqrt(2)
    lines = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    # Three networks are in one order by chance once in six times: there is no interval.
    few = "1.00 (too few for an interval)"
    assert f" {few}" in lines["MACs"] and f"-{few}" in lines["wrong"]
    assert "parameters  " not in text.split("ranked by")[1]  # all the same: they rank nothing


def test_rank_correlation_and_its_interval():
    truth = [1, 2, 3, 4, 5, 6, 7, 8]
    same = rank_correlation(truth, truth)
    assert (same.tau, same.rho, *same.tau_interval) == pytest.approx((1, 1, 1, 1))
    assert same.rho_interval == pytest.approx((1, 1)) and same.rho_text == "1.00 [1.00, 1.00]"
    assert same.number == 8
    swapped = rank_correlation(truth, [2, 1, 3, 4, 5, 6, 7, 8])
    assert swapped.tau == pytest.approx(1 - 2 / 28)  # one of 28 pairs the other way round
    assert swapped.tau_interval[0] < swapped.tau < 1
    assert rank_correlation(truth, [2, 1, 3, 4, 5, 6, 7, 8]) == swapped
    with pytest.raises(ValueError, match="at least 3"):
        rank_correlation([1, 2], [1, 2])


def test_rank_correlations_are_those_of_scipy():
    from scipy.stats import kendalltau, spearmanr

    from crnas_d2.evaluation.rank_correlation import _rhos, _taus

    random = np.random.default_rng(0)
    truth, scores = random.integers(0, 6, 12), random.integers(0, 6, 12)  # with ties
    found = rank_correlation(truth, scores)
    assert found.tau == pytest.approx(kendalltau(truth, scores).statistic)
    assert found.rho == pytest.approx(spearmanr(truth, scores).statistic)
    counts = random.multinomial(12, [1 / 12] * 12, size=5)
    arguments = truth.astype(float), scores.astype(float), counts.astype(float)
    for count, tau, rho in zip(counts, _taus(*arguments), _rhos(*arguments), strict=True):
        drawn = np.repeat(truth, count), np.repeat(scores, count)
        assert tau == pytest.approx(kendalltau(*drawn).statistic)
        assert rho == pytest.approx(spearmanr(*drawn).statistic)


def test_a_training_is_known_by_its_config_and_the_content_of_its_weights(tmp_path):
    def digest(**overrides):
        keys = {f"MODEL.{key.upper()}": str(value) for key, value in overrides.items()}
        return config_digest(toy.network_config(keys))

    for name, content in (("a.pth", b"base"), ("b.pth", b"base"), ("c.pth", b"other")):
        (tmp_path / name).write_bytes(content)
    first = digest(weights=tmp_path / "a.pth")
    assert digest(weights=tmp_path / "b.pth") == first
    assert digest(weights=tmp_path / "a.pth", device="cuda") == first
    assert digest(weights=tmp_path / "c.pth") != first != digest()
    assert digest(mask_on=True) != digest()
    # Neither a search nor a key that a later version adds makes it another training.
    other = toy.network_config({"SEARCH.METRIC": "bbox/AP50"})
    assert config_digest(other) == digest()
