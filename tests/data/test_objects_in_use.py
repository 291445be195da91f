"""Boxes, masks, key points and classes of pixels that do not fit the model are refused at once."""

import json
from pathlib import Path

import numpy as np
import pytest
import toy
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_coco_json
from detectron2.structures import BoxMode
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as masks

from crnas_d2.config.checks import check_model
from crnas_d2.config.values import check_values
from crnas_d2.data import check_data
from crnas_d2.data.datasets.objects_in_use import check_objects

pytestmark = pytest.mark.usefixtures("registered")

POINTS = 5
KEYPOINTS = {
    "MODEL.KEYPOINT_ON": True,
    "MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS": POINTS,
    "TEST.KEYPOINT_OKS_SIGMAS": [0.1] * POINTS,
}
PANOPTIC = {"MODEL.META_ARCHITECTURE": "PanopticFPN", "MODEL.SEM_SEG_HEAD.NUM_CLASSES": 3}
MASKS = {"MODEL.MASK_ON": True}
BITMASKS = {**MASKS, "INPUT.MASK_FORMAT": "bitmask"}


def rle(box, size=(toy.SIZE, toy.SIZE)):
    x, y, width, height = map(int, box)
    mask = np.zeros(size, np.uint8, order="F")
    mask[y : y + height, x : x + width] = 1
    code = masks.encode(mask)
    return {"size": list(code["size"]), "counts": code["counts"].decode()}


def points(count):
    return {"keypoints": [5, 5, 2] * count, "num_keypoints": count}


def as_coco(annotation):
    """A polygon and five key points for each object."""
    return {"segmentation": [toy.polygon(annotation["bbox"])], **points(POINTS)}


def as_rle(annotation):
    return {"segmentation": rle(annotation["bbox"])}


def as_crowd(annotation):
    return {**as_rle(annotation), "iscrowd": 1}


def as_small_rle(annotation):
    return {"segmentation": rle(annotation["bbox"], size=(32, 48))}


def with_points(count):
    return lambda annotation: points(count)


# Settings, what is changed in each second annotation, and words of the message, if it is unsound.
CASES = {
    "boxes": ({}, as_coco, ""),
    "polygons": (MASKS, as_coco, ""),
    "polygons as bitmasks": (BITMASKS, as_coco, ""),
    "RLE as bitmasks": (BITMASKS, as_rle, ""),
    "RLE without masks": ({}, as_rle, ""),
    "RLE as polygons": (
        MASKS,
        as_rle,
        r"masks as RLE, but INPUT\.MASK_FORMAT is 'polygon'.*bitmask",
    ),
    "crowds as RLE": (MASKS, as_crowd, ""),
    "RLE of another size": (BITMASKS, as_small_rle, "masks of another size than their image"),
    "key points": (KEYPOINTS, as_coco, ""),
    "more key points": (KEYPOINTS, with_points(17), r"another number of key points.*which is 5"),
    "fewer key points": (KEYPOINTS, with_points(1), r"another number of key points.*which is 5"),
    "key points of some": (KEYPOINTS, with_points(0), r"another number of key points.*0, 0, 0"),
    "another head": (
        {**KEYPOINTS, "MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS": 17, "TEST.KEYPOINT_OKS_SIGMAS": []},
        as_coco,
        r"NUM_KEYPOINTS is 17, but 'fit' has 5 key points\. Set it to 5",
    ),
    "COCO's sigmas": (
        {**KEYPOINTS, "TEST.KEYPOINT_OKS_SIGMAS": []},
        as_coco,
        r"OKS_SIGMAS is \[\], but the default is COCO's.*a number for each of the 5 key points",
    ),
    "fewer sigmas": (
        {**KEYPOINTS, "TEST.KEYPOINT_OKS_SIGMAS": [0.1] * 4},
        as_coco,
        r"OKS_SIGMAS is .*a number for each of the 5 key points",
    ),
    "classes of pixels": (PANOPTIC, as_coco, ""),
    "more classes of pixels": (
        {**PANOPTIC, "MODEL.SEM_SEG_HEAD.NUM_CLASSES": 54},
        as_coco,
        r"SEM_SEG_HEAD\.NUM_CLASSES is 54, but 'fit' has 3 classes.*Set it to 3",
    ),
    "other classes": ({**PANOPTIC, "MODEL.ROI_HEADS.NUM_CLASSES": 80}, as_coco, "has 2 classes"),
}


@pytest.mark.parametrize(("settings", "change", "words"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("key", ["TRAIN", "TEST"])
def test_what_does_not_fit_the_model_is_refused(tmp_path, key, settings, change, words):
    _, file, root = toy.make_dataset(tmp_path, "fit", 4, seed=5)
    content = json.loads(Path(file).read_text())
    for number, annotation in enumerate(content["annotations"]):
        annotation.update(as_coco(annotation))
        if number % 2:
            annotation.update(change(annotation))
    Path(file).write_text(json.dumps(content))

    def load():
        segments = {"sem_seg_file_name": file} if settings.get("MODEL.META_ARCHITECTURE") else {}
        return [{**image, **segments} for image in load_coco_json(file, root, "fit")]

    DatasetCatalog.register("fit", load)
    names = [str(number) for number in range(POINTS)]
    MetadataCatalog.get("fit").set(
        **{"json_file": file, "image_root": root, "evaluator_type": "coco"},
        **{"keypoint_names": names, "keypoint_flip_map": [], "stuff_classes": ["a", "b", "c"]},
    )
    cfg = toy.network_config({"DATASETS.TRAIN": (), "DATASETS.TEST": ()}, settings)
    cfg.DATASETS[key] = ("fit",)
    scored_only = key == "TEST" and "INPUT.MASK_FORMAT" in words.replace("\\", "")
    trained_only = key == "TRAIN" and "OKS_SIGMAS" in words
    if words and not scored_only and not trained_only:
        with pytest.raises(ValueError, match=words):
            check_data(cfg, [key])
    else:
        check_data(cfg, [key])


@given(
    box=st.lists(st.integers(1, 60), min_size=3, max_size=6),
    mode=st.sampled_from(list(BoxMode)),
    is_crowd=st.booleans(),
)
def test_only_upright_boxes_in_pixels_are_taken(box, mode, is_crowd):
    annotation = {"bbox": box, "bbox_mode": mode, "iscrowd": int(is_crowd)}
    images = [{"file_name": "odd.png", "annotations": [annotation]}]
    cfg: CfgNode = toy.network_config()
    if len(box) == 4 and mode in (BoxMode.XYXY_ABS, BoxMode.XYWH_ABS):
        check_objects(cfg, "DATASETS.TEST names 'odd'", images, trains=False)
        return
    words = r"'odd', which has 1 boxes other than four numbers.*odd\.png.*rotated boxes"
    with pytest.raises(ValueError, match=words):
        check_objects(cfg, "DATASETS.TEST names 'odd'", images, trains=False)
    if is_crowd:
        check_objects(cfg, "DATASETS.TRAIN names 'odd'", images)


@pytest.mark.parametrize(
    ("key", "value", "check"),
    [
        ("MODEL.ANCHOR_GENERATOR.NAME", "RotatedAnchorGenerator", check_model),
        ("MODEL.PROPOSAL_GENERATOR.NAME", "RRPN", check_model),
        ("MODEL.ROI_HEADS.NAME", "RROIHeads", check_model),
        ("MODEL.ROI_BOX_HEAD.POOLER_TYPE", "ROIAlignRotated", check_values),
        ("TEST.KEYPOINT_OKS_SIGMAS", [0.1, -0.1], check_values),
        ("MODEL.SEM_SEG_HEAD.NUM_CLASSES", 0, check_values),
        ("MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS", 0, check_values),
    ],
)
def test_parts_for_rotated_boxes_and_odd_values_are_refused(key, value, check):
    with pytest.raises(ValueError, match=f"{key} is .*expected"):
        check(toy.network_config({key: value}))
