"""The two scripts as a user runs them: supernet, search, retraining, evaluation."""

import json
import re
import runpy
import sys

import pytest
import torch
import toy
import yaml
from scripts import (
    Chain,
    compare,
    finished_trials,
    kill_after,
    metrics,
    read_candidates,
    run,
    run_here,
    start,
)

from crnas_d2.engine.checks import check_training
from crnas_d2.space import Genotype

NUM_CANDIDATES = 16
RESULTS = ("search.db", "genotype.yaml", "candidates.csv", "report.html", "log.txt", "config.yaml")
# All 16 genotypes, one image at a time: long enough for a kill to come in between. An untrained
# detector is unsure, so every detection counts: no candidate fails.
SEARCH = {
    "SEARCH.BUDGET.BLOCKS": [],
    "SEARCH.IMS_PER_BATCH": 1,
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.0,
}
TEST = {"MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.0, "DATASETS.TEST": ("toy_test",)}


def content(folder):
    """Every file of a folder, by its relative path."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def chain(tmp_path_factory, toy_datasets):
    return Chain(tmp_path_factory.mktemp("scripts"), toy.TINY, toy.STAGE_SPACE, toy_datasets)


@pytest.fixture(scope="module")
def folder(chain):
    return chain.folder


@pytest.fixture(scope="module")
def supernet(chain):
    """The folder of a trained supernet."""
    options = {"SOLVER.MAX_ITER": 30, "SOLVER.IMS_PER_BATCH": 4}
    chain.run("train_net.py", toy.SUPERNET, "supernet", options)
    return chain.folder / "supernet"


@pytest.fixture(scope="module")
def search_opts(chain, supernet):
    """From an output folder, and what else is to differ, to the options of a search."""
    weights = supernet.name
    return lambda output, *overrides: chain.opts(output, SEARCH, *overrides, weights=weights)


@pytest.fixture(scope="module")
def searched(folder, search_opts):
    """The folder of an uninterrupted search, and what it printed."""
    process = start("search_net.py", toy.SUPERNET, opts=search_opts("search"), warnings=())
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, output + errors
    (folder / "stderr.txt").write_text(errors)
    return folder / "search", output


@pytest.fixture(scope="module")
def retrained(chain, searched):
    """The config of the searched network, and the folder in which it was trained."""
    config = chain.config("retrain.yaml", toy.SEARCHED, "search/genotype.yaml")
    chain.run("train_net.py", config, "retrain", TEST)
    return config, chain.folder / "retrain"


def test_a_supernet_training_leaves_a_checkpoint_of_plain_tensors(supernet):
    checkpoint = torch.load(supernet / "model_final.pth", weights_only=True)
    assert checkpoint["iteration"] == 29
    assert any(".branches." in name for name in checkpoint["model"])
    losses = [line["total_loss"] for line in metrics(supernet) if "total_loss" in line]
    assert losses[-1] < losses[0]


def test_a_search_leaves_all_its_results(searched):
    output, printed = searched
    assert set(RESULTS) <= {file.name for file in output.iterdir()}
    rows = read_candidates(output)
    assert len(rows) == NUM_CANDIDATES
    fitness = [float(row["fitness"]) for row in rows]
    assert fitness == sorted(fitness, reverse=True) and fitness[0] > 0
    assert fitness == [float(row["bbox/AP"]) for row in rows]
    best = [int(rows[0][f"res{stage}.depth"]) for stage in range(2, 6)]
    assert Genotype.from_yaml(output / "genotype.yaml") == Genotype(depths=best)
    assert str(best) in printed and str(output / "genotype.yaml") in printed
    assert str(best) in (output / "report.html").read_text()
    assert yaml.safe_load((output / "config.yaml").read_text())["OUTPUT_DIR"] == str(output)


def test_a_redirected_search_prints_a_few_lines_without_warnings(searched, folder):
    output, printed = searched
    lines = (folder / "stderr.txt").read_text().splitlines()
    assert 1 <= len(lines) <= 3 and all(line.startswith("search: ") for line in lines)
    assert f"{NUM_CANDIDATES}/{NUM_CANDIDATES} networks" in lines[-1] and "best" in lines[-1]
    assert len(printed.splitlines()) < 15 and "Running with full config" not in printed
    assert "Running with full config" in (output / "log.txt").read_text()
    assert "\x1b" not in printed + (output / "log.txt").read_text()


def test_a_comparison_shows_networks_and_search(retrained, searched, folder):
    report = folder / "comparison.html"
    printed = compare(f"mine={retrained[1]}", "--search", searched[0], "--output", report)
    depths = str(list(Genotype.from_yaml(searched[0] / "genotype.yaml").depths))
    assert re.search(rf"mine +{re.escape(depths)}", printed)
    assert report.read_text().count("<img") >= 5


def test_a_killed_search_goes_on_with_two_workers_to_the_same_result(folder, searched, search_opts):
    output = folder / "killed"
    process = start("search_net.py", toy.SUPERNET, opts=search_opts(output))
    kill_after(process, output / "search.db", 2)
    assert 2 <= finished_trials(output / "search.db") < NUM_CANDIDATES
    assert not (output / "candidates.csv").exists()

    flags = ("--resume", "--num-workers", "2")
    # Loader processes, Detectron2's default, must be allowed to the second worker too.
    loaders = {"DATALOADER.NUM_WORKERS": 1}
    run("search_net.py", toy.SUPERNET, *flags, opts=search_opts(output, loaders))
    assert set(RESULTS) <= {file.name for file in output.iterdir()}
    assert read_candidates(output) == read_candidates(searched[0])
    best = [Genotype.from_yaml(path / "genotype.yaml") for path in (output, searched[0])]
    assert best[0] == best[1]


def test_the_searched_network_is_trained_and_evaluated(searched, retrained):
    depths = Genotype.from_yaml(searched[0] / "genotype.yaml").depths
    state = torch.load(retrained[1] / "model_final.pth", weights_only=True)["model"]
    for stage, depth in enumerate(depths, start=2):
        blocks = {
            int(found.group(1))
            for name in state
            if (found := re.match(rf"backbone\.bottom_up\.res{stage}\.(\d+)\.conv1\.", name))
        }
        assert blocks == set(range(depth))
    assert any("bbox/AP" in line for line in metrics(retrained[1]))


def test_eval_only_repeats_the_evaluation_at_the_end_of_training(chain, retrained):
    config, trained = retrained
    again = {"weights": trained.name, "flags": ["--eval-only"]}
    assert "AP50" in chain.run("train_net.py", config, "evaluation", TEST, **again)
    ours, expected = (
        json.loads((folder / "inference" / "coco_instances_results.json").read_text())
        for folder in (chain.folder / "evaluation", trained)
    )
    assert len(ours) == len(expected) > 0
    for detection, other in zip(ours, expected, strict=True):
        assert detection["image_id"] == other["image_id"]
        assert detection["score"] == pytest.approx(other["score"], abs=1e-5)
        assert detection["bbox"] == pytest.approx(other["bbox"], abs=1e-3)


TRAIN, SEARCH_NET, RESUME = "train_net.py", "search_net.py", "--resume"
OVERLAP = r"ARCHVAL.*TRAIN.*share 12 images"


@pytest.mark.parametrize(
    ("script", "flag", "overrides", "words"),
    [
        (
            *(SEARCH_NET, None, {"MODEL.SUPERNET.STAGE_OPTIONS": [[1, 2], [1, 2], [2, 3], [2, 4]]}),
            r"MODEL\.WEIGHTS do not fit.*res5\.0\.branches\.4",
        ),
        (SEARCH_NET, None, {"DATASETS.ARCHVAL": ("toy_archtrain",)}, OVERLAP),
        (SEARCH_NET, None, {"DATASETS.TEST": ("toy_archval",)}, r"ARCHVAL.*TEST.*share 8 images"),
        (SEARCH_NET, None, {"DATASETS.ARCHVAL": ()}, "expected exactly one dataset"),
        (SEARCH_NET, None, {"SEARCH.BUDGET.BLOCKS": [11, 12]}, "Reachable totals: 6-10"),
        (
            *(SEARCH_NET, None, {"SEARCH.ALGORITHM": "evolution", "SEARCH.BUDGET.MACS": [0, 1000]}),
            r"SEARCH\.BUDGET\.MACS \[0, 1000\].*Reachable",
        ),
        (SEARCH_NET, None, {"SEARCH.ALGORITHM": "exhausting"}, "'exhausting'.*exhaustive"),
        (SEARCH_NET, None, {"MODEL.WEIGHTS": ""}, r"MODEL\.WEIGHTS is empty"),
        (
            *(SEARCH_NET, None, {"MODEL.WEIGHTS": "no/such.pth"}),
            r"no/such\.pth, which does not exist",
        ),
        (SEARCH_NET, None, {"MODEL.SUPERNET.SPACE": "none"}, "Nothing to search"),
        (SEARCH_NET, None, {"SEARCH.METRICS": "bbox/AP"}, r"SEARCH\.METRICS"),
        (TRAIN, None, {"DATASETS.ARCHVAL": ("toy_archtrain",)}, OVERLAP),
        (TRAIN, None, {"DATASETS.TRAIN": ()}, r"DATASETS\.TRAIN is empty"),
        (TRAIN, None, {"MODEL.BACKBONE.FREEZE_AT": 2}, "FREEZE_AT is 2"),
        (TRAIN, None, {"MODEL.SUPERNET.DEPTH": 3}, r"MODEL\.SUPERNET\.DEPTH"),
        (TRAIN, "--eval-only", {"MODEL.WEIGHTS": ""}, r"MODEL\.WEIGHTS"),
        (TRAIN, RESUME, {}, "--resume finds no checkpoint in OUTPUT_DIR /.*/output"),
    ],
)
def test_what_cannot_be_right_does_not_begin(
    monkeypatch, tmp_path, search_opts, script, flag, overrides, words
):
    opts = search_opts(tmp_path / "output", overrides)
    flags = [flag] if flag else []
    assert re.search(words, run_here(monkeypatch, script, toy.SUPERNET, *flags, opts=opts))
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize(
    ("script", "flag", "overrides", "of", "words"),
    [
        (SEARCH_NET, None, {}, "search", "exists already.*--resume"),
        (
            *(SEARCH_NET, RESUME, {"SEARCH.BUDGET.BLOCKS": [8, 8]}, "search"),
            r"is another search: SEARCH\.BUDGET\.BLOCKS was at its default",
        ),
        (SEARCH_NET, None, {}, "supernet", "holds a training"),
        (TRAIN, None, {}, "supernet", r"another run already \(last_checkpoint\): .* --resume"),
    ],
)
def test_the_results_of_another_run_are_not_overwritten(
    monkeypatch, folder, searched, search_opts, script, flag, overrides, of, words
):
    before = content(folder / of)
    opts = search_opts(folder / of, overrides)
    flags = [flag] if flag else []
    assert re.search(words, run_here(monkeypatch, script, toy.SUPERNET, *flags, opts=opts))
    assert content(folder / of) == before


def test_a_training_that_ended_before_its_first_checkpoint_starts_anew(
    monkeypatch, tmp_path, search_opts, toy_datasets
):
    (tmp_path / "metrics.json").write_text('{"iteration": 0}\n')
    message = run_here(monkeypatch, TRAIN, toy.SUPERNET, RESUME, opts=search_opts(tmp_path))
    assert "there is nothing to continue" in message
    check_training(toy.supernet_config(toy_datasets, {"OUTPUT_DIR": str(tmp_path)}))


def test_networks_that_are_compared_have_different_names(monkeypatch, tmp_path, retrained):
    tool = str(toy.ROOT / "tools" / "compare_networks.py")
    named = [f"a={retrained[1]}", f"a={tmp_path}", "--output", str(tmp_path / "report.html")]
    monkeypatch.setattr(sys, "argv", [tool, *named])
    with pytest.raises(SystemExit, match=r"compare_networks\.py: .* have one name"):
        runpy.run_path(tool, run_name="__main__")


@pytest.mark.parametrize("script", [TRAIN, SEARCH_NET])
def test_a_config_file_that_does_not_exist_is_named(monkeypatch, script):
    assert "no/such.yaml" in run_here(monkeypatch, script, "no/such.yaml", opts=[])


def test_a_metric_that_the_evaluator_does_not_give_is_refused_without_a_traceback(
    tmp_path, search_opts
):
    opts = search_opts(tmp_path / "output", {"SEARCH.METRIC": "bbox/AP42"})
    process = start(SEARCH_NET, toy.SUPERNET, opts=opts)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "'bbox/AP42'" in errors and "bbox/AP50" in errors
    assert "Traceback" not in errors
