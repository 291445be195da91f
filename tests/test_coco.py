"""COCO in its own layout: the scripts need overrides alone, no new config."""

import math

import pytest
import real_data
import toy
from scripts import Chain, metrics, read_candidates

pytestmark = pytest.mark.slow


def test_a_supernet_is_trained_and_searched_on_coco(tmp_path):
    datasets = real_data.folder("coco").parent
    if not (datasets / "coco" / "annotations" / "instances_val2017.json").is_file():
        pytest.skip("coco/ has no instances_val2017.json")
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
    search = {
        "SEARCH.BUDGET.BLOCKS": [],
        "SEARCH.BN_CALIBRATION.NUM_IMAGES": 16,
        "SEARCH.COST_INPUT_SIZE": [128, 224],
    }
    chain = Chain(tmp_path, toy.TINY, shared, env={"DETECTRON2_DATASETS": str(datasets)})
    chain.run("train_net.py", toy.SUPERNET, "supernet", {"SOLVER.MAX_ITER": 10})
    chain.run("search_net.py", toy.SUPERNET, "search", search, weights="supernet")

    losses = [line.get("total_loss", 0.0) for line in metrics(tmp_path / "supernet")]
    assert any(losses) and all(map(math.isfinite, losses))
    for name in ("search.db", "genotype.yaml", "candidates.csv", "report.html", "log.txt"):
        assert (tmp_path / "search" / name).stat().st_size > 0
    rows = read_candidates(tmp_path / "search")
    assert len(rows) == 2
    for row in rows:
        assert math.isfinite(float(row["fitness"])) and math.isfinite(float(row["bbox/AP-person"]))
