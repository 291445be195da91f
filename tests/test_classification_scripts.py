"""The two scripts on a classification dataset: supernet, search by top-1, pretraining, scoring."""

import re

import pytest
import toy
from scripts import metrics, read_candidates, run

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

    def step(script, config, output, *flags, weights=None, **opts):
        paths = {"OUTPUT_DIR": tmp_path / output}
        if weights:
            paths["MODEL.WEIGHTS"] = tmp_path / weights / "model_final.pth"
        overrides = (toy.TINY, toy.STAGE_SPACE, toy.TINY_CLASSIFIER, data, paths, opts)
        return run(script, config, *flags, opts=toy.as_arguments(*overrides))

    step("train_net.py", toy.PRETRAIN, "supernet")
    step("search_net.py", toy.PRETRAIN, "search", weights="supernet")
    rows = read_candidates(tmp_path / "search")
    assert len(rows) == len(toy.ELIGIBLE)
    assert [row["fitness"] for row in rows] == [row["classification/top1"] for row in rows]
    assert Genotype.from_yaml(tmp_path / "search" / "genotype.yaml").depths in toy.ELIGIBLE

    config = tmp_path / "searched.yaml"
    config.write_text(f"_BASE_: [{toy.PRETRAIN}, search/genotype.yaml]\n")
    fixed = {"MODEL.SUPERNET.SPACE": "none"}
    step("train_net.py", config, "searched", **fixed)
    lines = metrics(tmp_path / "searched")
    [trained] = [line["classification/top1"] for line in lines if "total_loss" not in line]
    again = ("evaluation", "--eval-only")
    printed = step("train_net.py", config, *again, weights="searched", **fixed)
    found = re.search(r"copypaste: ([0-9.]+),([0-9.]+)", printed)
    assert abs(float(found[1]) - trained) < 1e-3 and float(found[2]) == 100
