"""COCO in its own layout: the scripts need overrides alone, no new config."""

import csv
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import toy

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def datasets():
    """A folder with COCO 2017, or a part of it, for DETECTRON2_DATASETS."""
    folder = Path(os.environ.get("DETECTRON2_DATASETS", toy.ROOT.parent / "shared" / "data"))
    if not (folder / "coco" / "annotations" / "instances_val2017.json").is_file():
        pytest.skip("DETECTRON2_DATASETS names no folder with coco/")
    return folder.resolve()


def run(script, datasets, opts):
    command = [sys.executable, toy.ROOT / script, "--config-file", toy.SUPERNET, *opts]
    environment = {**os.environ, "DETECTRON2_DATASETS": str(datasets)}
    return subprocess.run(
        list(map(str, command)), cwd=toy.ROOT, env=environment, capture_output=True, text=True
    )


def test_a_supernet_is_trained_and_searched_on_coco(datasets, tmp_path):
    shared = {
        "MODEL.SUPERNET.STAGE_OPTIONS": [[1, 2], [1], [2], [2]],
        "MODEL.ROI_HEADS.NUM_CLASSES": 80,
        "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.0,
        "INPUT.MIN_SIZE_TRAIN": (128,),
        "INPUT.MAX_SIZE_TRAIN": 224,
        "INPUT.MIN_SIZE_TEST": 128,
        "INPUT.MAX_SIZE_TEST": 224,
        "DATASETS.TRAIN": ("coco_2017_train",),
        "DATASETS.ARCHVAL": ("coco_2017_val",),
    }
    training = {"SOLVER.MAX_ITER": 10, "OUTPUT_DIR": tmp_path / "supernet"}
    trained = run("train_net.py", datasets, toy.as_arguments(toy.TINY, shared, training))
    assert trained.returncode == 0, trained.stderr
    lines = (tmp_path / "supernet" / "metrics.json").read_text().splitlines()
    losses = [json.loads(line).get("total_loss", 0.0) for line in lines]
    assert any(losses) and all(map(math.isfinite, losses))

    search = {
        "SEARCH.BUDGET.BLOCKS": [],
        "SEARCH.BN_CALIBRATION.NUM_IMAGES": 16,
        "SEARCH.COST_INPUT_SIZE": [128, 224],
        "MODEL.WEIGHTS": tmp_path / "supernet" / "model_final.pth",
        "OUTPUT_DIR": tmp_path / "search",
    }
    searched = run("search_net.py", datasets, toy.as_arguments(toy.TINY, shared, search))
    assert searched.returncode == 0, searched.stderr
    for name in ("search.db", "genotype.yaml", "candidates.csv", "report.html", "log.txt"):
        assert (tmp_path / "search" / name).stat().st_size > 0
    with (tmp_path / "search" / "candidates.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 2
    for row in rows:
        assert math.isfinite(float(row["fitness"])) and math.isfinite(float(row["bbox/AP-person"]))
