"""NATS as a user runs it: pretrained weights, search, evaluation of what was found, retraining."""

import json
import re
import signal
import time

import pytest
import search_toy
import torch
import toy
import yaml
from scripts import compare, run, run_here, start

from crnas_d2.space import Genotype

CHANNEL = search_toy.CHANNEL | {"SOLVER.ALPHA.BASE_LR": 0.5, "SOLVER.CHECKPOINT_PERIOD": 2}
TEST = {"MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.0, "DATASETS.TEST": ("toy_test",)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("channels")


@pytest.fixture(scope="module")
def searched(folder, toy_datasets):
    """The folder of a finished search."""
    opts = toy.as_arguments(toy.TINY, toy_datasets, CHANNEL, {"OUTPUT_DIR": folder / "search"})
    output = run("train_net.py", toy.SEARCHED, opts=opts)
    assert str(folder / "search" / "genotype.yaml") in output
    return folder / "search"


@pytest.fixture(scope="module")
def found(folder, searched):
    """The config of the network that was found: its genotype alone, on any base config."""
    config = folder / "found.yaml"
    config.write_text(f"_BASE_: [{toy.SEARCHED}, {searched / 'genotype.yaml'}]\n")
    return config


def test_a_search_leaves_a_genotype_and_a_report(searched):
    genotype = Genotype.from_yaml(searched / "genotype.yaml")
    assert genotype.depths == (1, 2, 1, 1)
    assert [len(indices) for indices in genotype.channels] == [4, 4, 4]
    config = yaml.safe_load((searched / "genotype.yaml").read_text())
    assert config["MODEL"]["SUPERNET"]["CHANNEL"]["STAGES"] == ["res3", "res5"]
    state = torch.load(searched / "model_final.pth", weights_only=True)["model"]
    for name, indices in zip(("res3.0", "res3.1", "res5.0"), genotype.channels, strict=True):
        alpha = state[f"backbone.bottom_up.{name}.conv1.alpha"]
        assert alpha.argmax(dim=1).tolist() == list(indices) and alpha.any()
    report = (searched / "report.html").read_text()
    assert all(text in report for text in ("res5.0.conv1", "(1, 3)", "Alpha over time", "<img"))


def test_the_found_network_is_evaluated_with_the_weights_of_the_supernet(
    folder, found, searched, toy_datasets
):
    weights = {"MODEL.WEIGHTS": searched / "model_final.pth", "OUTPUT_DIR": folder / "eval"}
    opts = toy.as_arguments(toy.TINY, toy_datasets, TEST, weights)
    printed = run("train_net.py", found, "--eval-only", opts=opts)
    assert "Calibrating BN on images of DATASETS.TRAIN" in printed
    assert (folder / "eval" / "inference" / "coco_instances_results.json").exists()


@pytest.fixture(scope="module")
def retrained(folder, found, searched, toy_datasets):
    """The folder of the found network's training."""
    start_weights = {"MODEL.WEIGHTS": searched / "model_final.pth", "OUTPUT_DIR": folder / "train"}
    run("train_net.py", found, opts=toy.as_arguments(toy.TINY, toy_datasets, TEST, start_weights))
    return folder / "train"


def test_the_found_network_is_retrained_and_evaluated_again(folder, found, retrained, toy_datasets):
    again = {"MODEL.WEIGHTS": retrained / "model_final.pth", "OUTPUT_DIR": folder / "again"}
    opts = toy.as_arguments(toy.TINY, toy_datasets, TEST, again)
    run("train_net.py", found, "--eval-only", opts=opts)
    results = [
        json.loads((folder / run_name / "inference" / "coco_instances_results.json").read_text())
        for run_name in ("train", "again")
    ]
    assert results[0] and results[0] == results[1]


def test_the_found_network_is_compared(folder, searched, retrained):
    report = folder / "compared.html"
    printed = compare(f"found={retrained}", "--search", searched, "--output", report)
    assert re.search(r"found +\[1, 2, 1, 1\], \d+ % dilated", printed)
    text = report.read_text()
    assert "Alpha over time" in text and "Channels by dilation" in text
    # Figures, the last one of receptive fields; of six images, the objects and the detections.
    assert text.count("<img") == 6 + 2 * 6


def test_a_killed_search_resumes_to_the_same_genotype_and_weights(folder, searched, toy_datasets):
    output = folder / "killed"
    opts = toy.as_arguments(toy.TINY, toy_datasets, CHANNEL, {"OUTPUT_DIR": output})
    process = start("train_net.py", toy.SEARCHED, opts=opts)
    while not (output / "model_0000001.pth").exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    run("train_net.py", toy.SEARCHED, "--resume", opts=opts)
    resumed, expected = (
        torch.load(place / "model_final.pth", weights_only=True)["model"]
        for place in (output, searched)
    )
    for name, value in resumed.items():
        assert torch.equal(value, expected[name]), name
    assert (output / "genotype.yaml").read_text() == (searched / "genotype.yaml").read_text()


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"DATASETS.ARCHVAL": ()}, r"DATASETS\.ARCHVAL is empty"),
        ({"DATASETS.ARCHVAL": ("toy_archtrain",)}, r"ARCHVAL.*TRAIN.*share 12 images"),
        ({"SOLVER.ALPHA.START": 1.0}, r"SOLVER\.ALPHA\.START is 1\.0.*from 0 to below 1"),
        ({"MODEL.SUPERNET.CHANNEL.NUM_GROUPS": 5}, "NUM_GROUPS, in res3: .*divisor of 8"),
    ],
    ids=["no archval", "overlap", "start", "groups"],
)
def test_a_search_that_cannot_be_right_does_not_begin(
    monkeypatch, tmp_path, toy_datasets, overrides, words
):
    output = {"OUTPUT_DIR": tmp_path / "output"}
    opts = toy.as_arguments(toy.TINY, toy_datasets, CHANNEL, overrides, output)
    assert re.search(words, run_here(monkeypatch, "train_net.py", toy.SEARCHED, opts=opts))
    assert not (tmp_path / "output").exists()


@pytest.mark.slow
def test_random_networks_and_the_found_one_have_the_cost_of_the_base_network(
    folder, found, toy_datasets
):
    opts = toy.as_arguments(toy.TINY, CHANNEL)
    flags = ("--number", "2", "--output", str(folder / "random"))
    run("tools/random_genotypes.py", toy.SEARCHED, *flags, opts=opts)
    config = folder / "random.yaml"
    config.write_text(f"_BASE_: [{toy.SEARCHED}, random/random-1.yaml]\n")
    depths = {"MODEL.GENOTYPE.DEPTHS": CHANNEL["MODEL.GENOTYPE.DEPTHS"]}
    costs = set()
    for network in (toy.SEARCHED, config, found):
        output = run("tools/analyze_genotype.py", network, opts=toy.as_arguments(toy.TINY, depths))
        costs.update(re.findall(r"^body .*", output, re.MULTILINE))
    assert len(costs) == 1
    genotypes = {Genotype.from_yaml(folder / "random" / f"random-{n}.yaml") for n in (1, 2)}
    assert len(genotypes) == 2
