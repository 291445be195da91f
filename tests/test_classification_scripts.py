"""The two scripts on a classification dataset: supernet, search by top-1, pretraining, scoring."""

import csv
import json
import re
import subprocess
import sys

import pytest
import toy

from crnas_d2.space import Genotype


def run(script, config, *flags, opts):
    command = [sys.executable, "-W", "ignore", str(toy.ROOT / script), "--config-file", str(config)]
    process = subprocess.run(
        [*command, *flags, *toy.as_arguments(toy.TINY, toy.STAGE_SPACE, toy.TINY_CLASSIFIER, opts)],
        cwd=toy.ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


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
    output = {"OUTPUT_DIR": tmp_path / "supernet"}
    run("train_net.py", toy.PRETRAIN, opts={**data, **output})

    weights = {"MODEL.WEIGHTS": tmp_path / "supernet" / "model_final.pth"}
    output = {"OUTPUT_DIR": tmp_path / "search"}
    run("search_net.py", toy.PRETRAIN, opts={**data, **weights, **output})
    with (tmp_path / "search" / "candidates.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == len(toy.ELIGIBLE)
    assert [row["fitness"] for row in rows] == [row["classification/top1"] for row in rows]
    best = Genotype.from_yaml(tmp_path / "search" / "genotype.yaml")
    assert best.depths in toy.ELIGIBLE

    config = tmp_path / "searched.yaml"
    config.write_text(f"_BASE_: [{toy.PRETRAIN}, search/genotype.yaml]\n")
    fixed = {**data, "MODEL.SUPERNET.SPACE": "none"}
    output = {"OUTPUT_DIR": tmp_path / "searched"}
    run("train_net.py", config, opts={**fixed, **output})
    lines = (tmp_path / "searched" / "metrics.json").read_text().splitlines()
    [trained] = [r["classification/top1"] for r in map(json.loads, lines) if "total_loss" not in r]

    weights = {"MODEL.WEIGHTS": tmp_path / "searched" / "model_final.pth"}
    output = {"OUTPUT_DIR": tmp_path / "evaluation"}
    printed = run("train_net.py", config, "--eval-only", opts={**fixed, **weights, **output})
    found = re.search(r"copypaste: ([0-9.]+),([0-9.]+)", printed)
    assert abs(float(found[1]) - trained) < 1e-3 and float(found[2]) == 100
