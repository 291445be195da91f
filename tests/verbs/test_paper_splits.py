"""The preset of a paper, and the checks of the search that reads what it made."""

import os
import re
import subprocess
import sys

import toy
from detectron2.data.datasets.builtin_meta import COCO_CATEGORIES
from PIL import Image

# Detectron2 settles the folder of its datasets when it is imported.
SPLITS = """
import runpy, shutil, sys
from crnas_d2.config import load_config
from crnas_d2.engine.checks import check_config

root, tool, config = sys.argv[1:]
sys.argv = [tool, "--preset", "nats-coco2014"]
runpy.run_path(tool, run_name="__main__")
for _ in range(2):
    check_config(load_config(config, []), ["TRAIN", "TEST", "ARCHVAL"])
    print("accepted")
    shutil.copy(f"{root}/coco/train2014/2.png", f"{root}/coco/val2014/5.png")
"""


def test_the_splits_of_a_search_are_those_of_coco_2014_and_share_no_image(tmp_path):
    coco = tmp_path / "coco"
    (coco / "annotations").mkdir(parents=True)
    categories = [
        {"id": category["id"], "name": category["name"]}
        for category in COCO_CATEGORIES
        if category["isthing"]
    ]
    for split, ids in {"train2014": (1, 2), "val2014": (3, 4, 5), "val2017": (3,)}.items():
        (coco / split).mkdir()
        images, annotations = [], []
        for i in ids:
            Image.new("RGB", (8, 8), (9 * i, 0, 0)).save(coco / split / f"{i}.png")
            images.append({"id": i, "file_name": f"{i}.png", "width": 8, "height": 8})
            box = {"bbox": [1, 1, 4, 4], "area": 16, "iscrowd": 0}
            annotations.append({"id": i, "image_id": i, "category_id": 1, **box})
        file = coco / "annotations" / f"instances_{split}.json"
        toy.write_json(file, images, annotations, categories)
    files = ("tools/prepare_archval.py", "projects/NATS/configs/search/R50-G16.yaml")
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SPLITS, str(tmp_path), *files],
        env={**os.environ, "DETECTRON2_DATASETS": str(tmp_path)},
        cwd=toy.ROOT,
        capture_output=True,
        text=True,
    )
    assert "instances_valminusminival2014.json: 2 images" in run.stdout
    assert run.stdout.count("accepted") == 1, run.stderr
    assert re.search(r"ARCHVAL.*valminusminival.*TRAIN.*share 1 images", run.stderr)
