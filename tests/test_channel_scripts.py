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
from scripts import Chain, compare, run, run_here, start

from crnas_d2.space import Genotype

CHANNEL = search_toy.CHANNEL | {"SOLVER.ALPHA.BASE_LR": 0.5, "SOLVER.CHECKPOINT_PERIOD": 2}
TEST = {"MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.0, "DATASETS.TEST": ("toy_test",)}


@pytest.fixture(scope="module")
def chain(tmp_path_factory, toy_datasets):
    return Chain(tmp_path_factory.mktemp("channels"), toy.TINY, toy_datasets)


@pytest.fixture(scope="module")
def searched(chain):
    """The folder of a finished search."""
    output = chain.run("train_net.py", toy.SEARCHED, "search", CHANNEL)
    assert str(chain.folder / "search" / "genotype.yaml") in output
    return chain.folder / "search"


@pytest.fixture(scope="module")
def found(chain, searched):
    """The config of the network that was found: its genotype alone, on any base config."""
    return chain.config("found.yaml", toy.SEARCHED, searched / "genotype.yaml")


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


def detections(folder):
    return json.loads((folder / "inference" / "coco_instances_results.json").read_text())


def test_the_found_network_is_evaluated_with_the_weights_of_the_supernet(chain, found):
    evaluate = {"weights": "search", "flags": ["--eval-only"]}
    printed = chain.run("train_net.py", found, "eval", TEST, **evaluate)
    assert "Calibrating BN on images of DATASETS.TRAIN" in printed
    assert detections(chain.folder / "eval")


@pytest.fixture(scope="module")
def retrained(chain, found):
    """The folder of the found network's training."""
    chain.run("train_net.py", found, "train", TEST, weights="search")
    return chain.folder / "train"


def test_the_found_network_is_retrained_and_evaluated_again(chain, found, retrained):
    chain.run("train_net.py", found, "again", TEST, weights="train", flags=["--eval-only"])
    assert detections(retrained) and detections(retrained) == detections(chain.folder / "again")


def test_the_found_network_is_compared(chain, searched, retrained):
    report = chain.folder / "compared.html"
    printed = compare(f"found={retrained}", "--search", searched, "--output", report)
    assert re.search(r"found +\[1, 2, 1, 1\], \d+ % dilated", printed)
    text = report.read_text()
    assert "Alpha over time" in text and "Channels by dilation" in text
    # Figures, the last one of receptive fields; of six images, the objects and the detections.
    assert text.count("<img") == 6 + 2 * 6


def test_a_killed_search_resumes_to_the_same_genotype_and_weights(chain, searched):
    output = chain.folder / "killed"
    process = start("train_net.py", toy.SEARCHED, opts=chain.opts("killed", CHANNEL))
    while not (output / "model_0000001.pth").exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    chain.run("train_net.py", toy.SEARCHED, "killed", CHANNEL, flags=["--resume"])
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
def test_random_networks_and_the_found_one_have_the_cost_of_the_base_network(chain, found):
    flags = ("--number", "2", "--output", str(chain.folder / "random"))
    opts = toy.as_arguments(toy.TINY, CHANNEL)
    run("tools/random_genotypes.py", toy.SEARCHED, *flags, opts=opts)
    config = chain.config("random.yaml", toy.SEARCHED, "random/random-1.yaml")
    depths = {"MODEL.GENOTYPE.DEPTHS": CHANNEL["MODEL.GENOTYPE.DEPTHS"]}
    costs = set()
    for network in (toy.SEARCHED, config, found):
        output = run("tools/analyze_genotype.py", network, opts=toy.as_arguments(toy.TINY, depths))
        costs.update(re.findall(r"^body .*", output, re.MULTILINE))
    assert len(costs) == 1
    files = [chain.folder / "random" / f"random-{number}.yaml" for number in (1, 2)]
    assert len(set(map(Genotype.from_yaml, files))) == 2
