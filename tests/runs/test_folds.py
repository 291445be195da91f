"""Networks trained on all folds: their AP is that of all detections together."""

import json
from pathlib import Path

import numpy as np
import pytest
import toy
from detectron2.data import DatasetCatalog, MetadataCatalog
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from crnas_d2.checkpoint import write_weights
from crnas_d2.data import register_coco_format
from crnas_d2.report import Page, add_folds, folds_table
from crnas_d2.runs.folds import FoldComparison, is_folded, load_folds
from crnas_d2.verbs.main import main

pytestmark = pytest.mark.usefixtures("registered")


@pytest.fixture
def folds(tmp_path, toy_datasets):
    """Makes runs of networks on three folds, which find objects and some that are not there."""
    sets = [toy.make_dataset(tmp_path, f"fold{n}", 5 + n, seed=n) for n in (1, 2, 3)]
    register_coco_format(sets)

    def make(network, seed, depths=(1, 2, 3, 2), test=lambda n: n):
        random = np.random.default_rng(seed)
        for number, (_, file, _root) in enumerate(sets, start=1):
            folder = tmp_path / f"fold{number}" / "output" / network
            (folder / "inference").mkdir(parents=True)
            keys = {"MODEL.GENOTYPE.DEPTHS": list(depths), "SOLVER.MAX_ITER": 40}
            keys |= {"SEARCH.COST_INPUT_SIZE": [toy.SIZE] * 2, "DATASETS.COCO_FORMAT": sets}
            keys["DATASETS.TEST"] = (f"fold{test(number)}",)
            cfg = toy.network_config(toy_datasets, keys)
            (folder / "config.yaml").write_text(cfg.dump())
            write_weights({"model": {}, "iteration": 39}, folder / "model_final.pth")
            detections = [
                {"image_id": a["image_id"], "category_id": int(random.integers(1, 3))}
                | {"bbox": (np.array(a["bbox"]) + random.normal(0, 2, 4)).clip(1).tolist()}
                | {"score": float(random.random())}
                for a in json.loads(Path(file).read_text())["annotations"]
            ]
            results = folder / "inference" / "coco_instances_results.json"
            results.write_text(json.dumps(detections))
            line = {
                "iteration": 40,
                "bbox/AP": coco_ap(json.loads(Path(file).read_text()), detections),
            }
            (folder / "metrics.json").write_text(json.dumps(line) + "\n")
        return str(tmp_path / "fold*" / "output" / network)

    yield make
    for name, *_ in sets:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def pooled_ap(pattern, tmp_path):
    """By pycocotools, on one file of all folds."""
    whole = {"images": [], "annotations": [], "categories": None}
    detections = []
    for number in (1, 2, 3):
        part = json.loads((tmp_path / f"fold{number}.json").read_text())
        move = 1000 * number
        whole["categories"] = part["categories"]
        whole["images"] += [{**i, "id": i["id"] + move} for i in part["images"]]
        whole["annotations"] += [
            {**a, "id": a["id"] + move, "image_id": a["image_id"] + move}
            for a in part["annotations"]
        ]
        folder = Path(pattern.replace("fold*", f"fold{number}"))
        found = json.loads((folder / "inference/coco_instances_results.json").read_text())
        detections += [{**d, "image_id": d["image_id"] + move} for d in found]
    return coco_ap(whole, detections)


def coco_ap(content, detections):
    truth = COCO()
    truth.dataset = content
    truth.createIndex()
    evaluation = COCOeval(truth, truth.loadRes(detections), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return 100 * evaluation.stats[0]


def test_the_ap_of_folds_is_that_of_pycocotools_on_all_their_images(folds, tmp_path):
    pattern = folds("found", 1)
    network = load_folds("found", pattern)
    assert network.results.num_images == 6 + 7 + 8
    assert network.ap == pytest.approx(pooled_ap(pattern, tmp_path), abs=1e-9)
    assert [run.dataset for run in network.runs] == ["fold1", "fold2", "fold3"]
    metrics = Path(pattern.replace("fold*", "fold2")) / "metrics.json"
    metrics.write_text(json.dumps({"iteration": 40, "bbox/AP": network.runs[1].ap + 1}) + "\n")
    with pytest.raises(ValueError, match=r"fold2/output/found/metrics\.json, but its detections"):
        load_folds("found", pattern)


def test_networks_are_compared_over_all_images(folds, tmp_path, capsys):
    first = load_folds("detector", folds("detector", 1))
    other = load_folds("found", folds("found", 2, depths=(1, 1, 1, 1)))
    comparison = FoldComparison.of([first, other])
    low, high = comparison.interval(other)
    assert low <= other.ap - first.ap <= high and other.macs < first.macs
    _, rows = folds_table(comparison)
    assert [row[0] for row in rows] == ["detector", "found"] and "[1, 1, 1, 1]" in rows[1][-1]
    page = Page("Folds")
    add_folds(page, comparison)
    assert "21 images, each tested once" in page.parts[0]

    pattern = str(tmp_path / "fold*" / "output")
    names = [f"{name}={pattern}/{name}" for name in ("detector", "found")]
    main(["compare", *names, "--output", str(tmp_path / "folds.html")])
    assert f"{other.ap:.2f}" in capsys.readouterr().out
    assert (tmp_path / "folds.html").is_file()


def test_what_are_no_folds_is_refused(folds, tmp_path):
    pattern = folds("found", 1)
    assert is_folded(pattern) and not is_folded(str(tmp_path / "fold1"))
    with pytest.raises(ValueError, match="the pattern of two folders or more"):
        load_folds("found", str(tmp_path / "fold1*" / "output" / "found"))
    twice = folds("twice", 1, test=lambda number: max(2, number))
    with pytest.raises(ValueError, match=r"twice: .* are both tested on fold2"):
        load_folds("twice", twice)
    (tmp_path / "fold3/output/found/inference/coco_instances_results.json").unlink()
    with pytest.raises(ValueError, match=r"has no coco_instances_results\.json\. Evaluate it"):
        load_folds("found", pattern)
