"""Whatever annotations are accepted, perfect predictions score 100 in them, as by pycocotools."""

import contextlib
import json
import math

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.evaluation import COCOEvaluator
from detectron2.structures import Boxes, Instances
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from image_results import score

from crnas_d2.data.datasets.files_in_use import check_annotation_file
from crnas_d2.evaluation import FastCOCOEvaluator

_IDS = st.integers(0, 9) | st.integers(2**53, 2**53 + 2) | st.integers(-(2**130), 2**130)


# By its key, what may be wrong with a record.
_FAULTS = {
    "annotations": [
        *[("bbox", [3, 4, *sides]) for sides in ((0, 5), (1e-9, 5), (-3, 5), (math.inf, 5), (5,))],
        *[("bbox", [*corner, 5, 6]) for corner in ((-5.5, 0), (-4, -5), (math.nan, 0), (390, 0))],
        *[("id", value) for value in (0, None, "1")],
        *[("iscrowd", value) for value in (1, None, "0", False)],
        *[("area", value) for value in (0, None, 1e11, -1)],
        *[("image_id", 12345), ("category_id", 12345), ("ignore", 1), ("ignore", 0)],
    ],
    "images": [("width", 0), ("height", None), ("id", "1"), ("file_name", None), ("width", 6)],
    "categories": [("name", "class 1"), ("id", 1.5), ("name", None)],
}


@st.composite
def annotated(draw):
    """The content of a COCO JSON file, with at most two faults."""
    ids = st.lists(_IDS, min_size=1, max_size=3, unique=True)
    image_ids, category_ids = draw(ids), draw(ids)
    width, height = draw(st.integers(250, 400)), draw(st.integers(250, 400))
    sizes = {"width": width, "height": height}
    coco = {
        "images": [{"id": i, "file_name": f"{n}.png", **sizes} for n, i in enumerate(image_ids)],
        "annotations": [],
        "categories": [{"id": i, "name": f"class {n}"} for n, i in enumerate(category_ids)],
    }
    for id_ in draw(st.lists(_IDS, min_size=1, max_size=6, unique=True)):
        corner, sides = st.floats(0, 50, width=16), st.floats(0.5, 200, width=16)
        annotation = {
            "id": id_,
            "image_id": draw(st.sampled_from(image_ids)),
            "category_id": draw(st.sampled_from(category_ids)),
            "bbox": [draw(corner), draw(corner), draw(sides), draw(sides)],
        }
        annotation |= draw(st.sampled_from([{}, {"area": 50}, {"area": 9.5, "iscrowd": 0}]))
        coco["annotations"].append(annotation)
    for _ in range(draw(st.integers(0, 2))):
        records = draw(st.sampled_from(sorted(_FAULTS)))
        key, value = draw(st.sampled_from(_FAULTS[records]))
        draw(st.sampled_from(coco[records]))[key] = value
    return coco


def perfect(coco, class_of):
    for image in coco["images"]:
        objects = [
            a for a in coco["annotations"] if a["image_id"] == image["id"] and not a.get("iscrowd")
        ]
        boxes = torch.tensor([a["bbox"] for a in objects], dtype=torch.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        instances = Instances((400, 400))
        instances.pred_boxes = Boxes(boxes)
        instances.pred_classes = torch.tensor([class_of[a["category_id"]] for a in objects]).long()
        instances.scores = torch.ones(len(objects))
        yield {"image_id": image["id"]}, {"instances": instances}


@contextlib.contextmanager
def registered(name, coco, folder):
    file = folder / f"{name}.json"
    file.write_text(json.dumps(coco))
    register_coco_instances(name, {}, str(file), str(folder))
    try:
        yield file
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


@pytest.mark.filterwarnings("ignore:The 'warn' method is deprecated:DeprecationWarning")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(annotated())
def test_a_file_is_refused_or_perfect_predictions_score_100(tmp_path, monkeypatch, coco):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with registered("any", coco, tmp_path) as file:
        try:
            check_annotation_file("DATASETS.TEST names 'any'", file, is_scored=True)
        except ValueError as error:
            assert str(file) in str(error)
            event("refused")
            return
        DatasetCatalog.get("any")  # fills in the metadata
        metadata = MetadataCatalog.get("any")
        predictions = list(perfect(coco, metadata.thing_dataset_id_to_contiguous_id))
        found = score(FastCOCOEvaluator("any", distributed=False), predictions)["bbox"]
        assert found["AP"] == found["AP75"] == 100
    for annotation in coco["annotations"]:  # without which pycocotools fails
        annotation.setdefault("area", annotation["bbox"][2] * annotation["bbox"][3])
        annotation.setdefault("iscrowd", 0)
    with registered("complete", coco, tmp_path):
        DatasetCatalog.get("complete")
        oracle = COCOEvaluator("complete", distributed=False, use_fast_impl=False)
        expected = score(oracle, predictions)["bbox"]
        assert found == pytest.approx(expected, abs=1e-9, nan_ok=True)
