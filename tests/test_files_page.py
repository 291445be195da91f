"""docs/FILES.md names every file of a run, and every key in it."""

import csv
import json
import re
import sqlite3
from contextlib import closing

import numpy as np
import pytest
import torch
import toy
import trained_toy
from scripts import metrics

from crnas_d2 import Choice, Genotype, SearchSpace, run_search
from crnas_d2.cost.latency import LatencyCheck, LatencyTable
from crnas_d2.runs.loaded_network import network_config
from crnas_d2.space import AdditiveCost
from crnas_d2.verbs.export.folder import run_export
from crnas_d2.verbs.predict.job import run_prediction

PAGE = (toy.ROOT / "docs" / "FILES.md").read_text()
RUNS = (toy.ROOT / "docs" / "RUNS.md").read_text()
EXPORT = (toy.ROOT / "docs" / "PREDICT_EXPORT.md").read_text()


@pytest.fixture(scope="module")
def training(toy_datasets, tmp_path_factory):
    depths = {"MODEL.GENOTYPE.DEPTHS": [2, 2, 3, 3]}
    return trained_toy.train(tmp_path_factory.mktemp("files") / "run", toy_datasets, depths)


@pytest.fixture(scope="module")
def search(training, toy_datasets):
    cfg = toy.supernet_config(
        toy_datasets,
        {
            "MODEL.INHERIT": True,
            "MODEL.SUPERNET.SHARING": "prefix",
            "MODEL.WEIGHTS": str(training / "model_final.pth"),
            "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.0,
            "SEARCH.BUDGET.BLOCKS": [9, 9],
            "OUTPUT_DIR": str(training.parent / "search"),
        },
    )
    cfg.freeze()
    run_search(cfg)
    return training.parent / "search"


def section(title):
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def keys(text):
    """The words in code within the first cells of tables."""
    cells = re.findall(r"^\| (`[^|]*) \|", text, flags=re.MULTILINE)
    return {key for cell in cells for key in re.findall(r"`([^`]+)`", cell)}


def as_pattern(name):
    return re.sub(r"\\?<[^>]*>", r"[^/]+", re.escape(name)).replace(r"\*", r"[^/]*")


def words(text):
    return set(re.findall(r"`([^`\s]+)`", text))


def files_of(folder):
    files = (file for file in folder.rglob("*") if file.is_file())
    return [file.relative_to(folder).as_posix() for file in files]


def assert_named(files, *texts):
    names = [as_pattern(name) for text in texts for name in words(text)]
    # A folder that is named stands for what is in it.
    pattern = "|".join(name + (".*" if name.endswith("/") else "") for name in names)
    for file in files:
        assert re.fullmatch(pattern, file), file


def read_json(file):
    return json.loads(file.read_text())


def test_the_files_of_a_training_are_named(training):
    assert_named(files_of(training), section("A training"))
    content = torch.load(training / "model_final.pth", weights_only=True)
    assert set(content) == keys(section("Checkpoints"))
    assert set(content["classes"]) == {"names", "ids"}
    last = metrics(training)[-1]
    assert {"iteration", "bbox/AP", "bbox/AP50"} <= words(section("A training")) & set(last)


def test_the_files_of_a_search_are_named(search):
    text = section("A search") + section("A training")
    assert_named(files_of(search), text, RUNS)
    weights = torch.load(search / "model_best.pth", weights_only=True)
    assert set(weights) == {"model", "network", "classes"}

    with (search / "candidates.csv").open(newline="") as stream:
        columns = next(csv.reader(stream))
    for column in ("fitness", "fitness_low", "fitness_high", "bbox/AP", "macs", "seconds"):
        assert column in columns and column in keys(text)
    assert "res2.depth" in columns

    arrays = np.load(next((search / "noise").glob("*.npz")))
    table = text.partition("noise/<digest>")[2].partition("**`search.db`**")[0]
    assert set(arrays) == keys(table) - {"hits"}


def test_the_keys_of_latencies_are_named(tmp_path):
    choice = Choice("res2.depth", (1, 2), field="depths", stage="res2")
    space = SearchSpace("stage", (choice,))
    cost = AdditiveCost("LATENCY", "ms", space, {"res2.depth": {1: 1.0, 2: 2.0}}, 3.0)
    check = LatencyCheck(Genotype(depths=(1,)), estimated=4.0, measured=4.1)
    LatencyTable(cost, {}, [check]).save(tmp_path / "latency.json")
    latencies = read_json(tmp_path / "latency.json")
    assert {*latencies, *latencies["checks"][0]} <= words(section("A search"))


def test_the_attributes_of_trials_are_named(search):
    with closing(sqlite3.connect(search / "search.db")) as connection:
        query = "SELECT DISTINCT key FROM trial_user_attributes"
        attributes = {key for (key,) in connection.execute(query)}
        described = connection.execute("SELECT key FROM study_user_attributes ORDER BY key")
        described = [key.removesuffix(key.partition("folder ")[2]) for (key,) in described]
    assert attributes and attributes <= keys(section("A search"))
    assert described == ["description", "detector", "folder ", "started by"]
    assert {name.strip() for name in described} <= set(re.findall("`([^`]+)`", section("A search")))


def test_the_files_of_predict_are_named(training, toy_datasets, tmp_path):
    images = toy_datasets["DATASETS.COCO_FORMAT"][-1][2]
    cfg = network_config(str(training), None)
    output = tmp_path / "out"
    run_prediction(
        cfg, [images], str(output), folder=str(training), score_threshold=0.0, with_pictures=False
    )
    assert set(files_of(output)) == {"predictions.json", "images.json"}
    results, listed = (read_json(output / f"{name}.json") for name in ("predictions", "images"))
    assert set(results[0]) == keys(section("predict")) - {"segmentation"}
    assert {*listed, *listed["images"][0], *listed["categories"][0]} <= words(section("predict"))


def test_the_files_of_export_are_named(training, tmp_path):
    output = tmp_path / "out"
    run_export(network_config(str(training), None), str(output), folder=str(training))
    assert_named(files_of(output), section("export"), EXPORT)
    record = read_json(output / "provenance.json")
    assert set(record) == keys(section("export"))
    assert {*record["input"], *record["weights"], *record["datasets"]} <= words(section("export"))
    weights = torch.load(output / "model.pth", weights_only=True)
    assert set(weights) == {"model", "network", "classes"}


def test_the_example_of_a_genotype_is_one(tmp_path):
    file = tmp_path / "genotype.yaml"
    file.write_text(section("genotype.yaml").partition("```yaml\n")[2].partition("```")[0])
    assert Genotype.from_yaml(file) == Genotype(depths=(3, 4, 1, 1))
