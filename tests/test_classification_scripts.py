"""The two scripts on a classification dataset: supernet, search by top-1, pretraining, scoring."""

import re

import pytest
import toy
from scripts import Chain, metrics, read_candidates

from crnas_d2.space import Genotype


@pytest.mark.slow
def test_a_classification_supernet_is_searched_and_its_winner_pretrained(tmp_path):
    entries = []
    for seed, (name, per_class) in enumerate({"train": 6, "archval": 4, "val": 4}.items()):
        toy.make_image_folder(tmp_path / name, per_class, seed)
        entries.append([f"my_{name}", str(tmp_path / name)])
    data = {
        "DATASETS.IMAGE_FOLDERS": entries,
        "DATASETS.TRAIN": ("my_train",),
        "DATASETS.ARCHVAL": ("my_archval",),
        "DATASETS.TEST": ("my_val",),
        "SOLVER.MAX_ITER": 20,
        "SOLVER.IMS_PER_BATCH": 6,
    }

    chain = Chain(tmp_path, toy.TINY, toy.STAGE_SPACE, toy.TINY_CLASSIFIER, data)
    chain.run("train_net.py", toy.PRETRAIN, "supernet")
    chain.run("search_net.py", toy.PRETRAIN, "search", weights="supernet")
    rows = read_candidates(tmp_path / "search")
    assert len(rows) == len(toy.ELIGIBLE)
    assert [row["fitness"] for row in rows] == [row["classification/top1"] for row in rows]
    assert Genotype.from_yaml(tmp_path / "search" / "genotype.yaml").depths in toy.ELIGIBLE

    config = chain.config("searched.yaml", toy.PRETRAIN, "search/genotype.yaml")
    fixed = {"MODEL.SUPERNET.SPACE": "none"}
    chain.run("train_net.py", config, "searched", fixed)
    lines = metrics(tmp_path / "searched")
    [trained] = [line["classification/top1"] for line in lines if "total_loss" not in line]
    again = {"weights": "searched", "flags": ["--eval-only"]}
    printed = chain.run("train_net.py", config, "evaluation", fixed, **again)
    found = re.search(r"copypaste: ([0-9.]+),([0-9.]+)", printed)
    assert abs(float(found[1]) - trained) < 1e-3 and float(found[2]) == 100
