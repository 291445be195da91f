"""What training or evaluation would get wrong in a COCO JSON file, found before they start."""

import math
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from crnas_d2.config import spell

# Pixels. COCO rounds coordinates to two decimals; a narrower box is none.
_ROUNDING = 0.02
# COCO's evaluation takes no larger object (its area range "all"), and as many detections per image.
_MOST_AREA, _MOST_DETECTIONS = 1e10, 100


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes:
        refused: ``"always"``; where a dataset is ``"scored"``; for ``"masks"``; or ``"never"``, if
            it is harmless and counted only; ``"usual"``, if it is no fault.
        fix: what to do, or why it is harmless.
        tolerated: share of the objects up to which it cannot be seen in an AP of two decimals.
    """

    refused: str
    fix: str
    tolerated: float = 0.0


_UNSEEN = 1e-4  # COCO itself has two boxes without area
_WRITE = f"correct them, or let {spell('prepare')} write a corrected copy"

KINDS: Mapping[str, Kind] = {
    "image ids that occur twice": Kind("always", "give each image an id of its own"),
    "image files that are listed twice": Kind(
        "always", "list each file once, with all its annotations"
    ),
    "image sizes that are no whole numbers above 0": Kind(
        "always", "write width and height of the file, in pixels"
    ),
    "category ids that occur twice": Kind("always", "give each category an id of its own"),
    "category names that occur twice": Kind("always", "merge the categories, or rename one"),
    "annotation ids that are missing or no whole numbers": Kind("always", _WRITE),
    "annotation ids that occur twice": Kind("always", _WRITE),
    "annotations of images that are not listed": Kind(
        "always", "list the images, or remove the annotations"
    ),
    "annotations of unknown categories": Kind(
        "always", "add the categories, or remove the annotations"
    ),
    "boxes that are not 4 finite numbers": Kind(
        "always", "expected [x, y, width, height] in pixels"
    ),
    "boxes of negative width or height": Kind(
        "always", "expected [x, y, width, height] with x, y of the upper left corner"
    ),
    "values of iscrowd other than 0 and 1": Kind("always", "write 0 for an object"),
    "annotations with the key 'ignore'": Kind(
        "always", "mark them as crowd, or remove the key, which Detectron2 does not support"
    ),
    "malformed segmentations": Kind(
        "always", "expected polygons [[x, y, ...], ...] or an RLE; remove the key to use the boxes"
    ),
    "malformed keypoints": Kind("always", "expected [x, y, visibility, ...]"),
    "annotations with id 0": Kind("scored", f"COCO's evaluation reads 0 as 'no match': {_WRITE}"),
    "boxes without area": Kind(
        "scored", f"no detection matches them, and training drops them: {_WRITE}", _UNSEEN
    ),
    "boxes less than half inside the image": Kind(
        "scored", f"no detection inside the image matches them: {_WRITE}", _UNSEEN
    ),
    "areas that are no numbers from 0 to 1e10": Kind(
        "scored", "COCO's evaluation skips such objects: write the area in pixels"
    ),
    "objects without a mask": Kind("masks", "add segmentation, or set MODEL.MASK_ON to False"),
    "crowd regions": Kind("usual", "not trained on, ignored in the evaluation"),
    "images without objects": Kind("usual", "skipped in training, evaluated"),
    "boxes partly outside the image": Kind("never", "clipped in training, scored as they are"),
    "annotations without area or iscrowd": Kind("never", "taken as width * height, and 0"),
    "objects whose polygons have less than 3 points": Kind("never", "skipped in training"),
    "images with more than 100 objects": Kind(
        "usual", "COCO's evaluation takes 100 detections per image"
    ),
}


def find_faults(coco: Mapping) -> dict[str, list[str]]:
    """Find the faults of a dataset.

    Args:
        coco: of :func:`~crnas_d2.data.annotations.coco.read_coco`.

    Returns:
        for each of :data:`KINDS` that occurs, where.
    """
    found = defaultdict(list)
    images = {image["id"]: image for image in coco["images"]}
    categories = {category["id"] for category in coco["categories"]}
    annotations = coco.get("annotations", [])
    for kind, values in (
        ("image ids that occur twice", [i["id"] for i in coco["images"]]),
        (
            "image files that are listed twice",
            [os.path.normpath(i["file_name"]) for i in coco["images"]],
        ),
        ("category ids that occur twice", [c["id"] for c in coco["categories"]]),
        ("category names that occur twice", [c["name"] for c in coco["categories"]]),
        ("annotation ids that occur twice", [_id(a) for a in annotations if _id(a) is not None]),
    ):
        found[kind] = [str(value) for value, count in Counter(values).items() if count > 1]
    for image in coco["images"]:
        if not all(_is_size(image.get(side)) for side in ("width", "height")):
            found["image sizes that are no whole numbers above 0"].append(
                f"{image.get('width')} x {image.get('height')} of {image['file_name']}"
            )
    objects = Counter()
    for annotation in annotations:
        image = images.get(annotation["image_id"])
        where = f"annotation {annotation.get('id')}"
        where += f" of {image['file_name']}" if image else f" of image {annotation['image_id']}"
        for kind in _faults(annotation, image, categories):
            found[kind].append(where)
        objects[annotation["image_id"]] += annotation.get("iscrowd") != 1
    for image_id, image in images.items():
        if image_id not in objects:
            found["images without objects"].append(image["file_name"])
        elif objects[image_id] > _MOST_DETECTIONS:
            found["images with more than 100 objects"].append(image["file_name"])
    return {kind: places for kind, places in found.items() if places}


def _faults(annotation: Mapping, image: Mapping | None, categories: set[int]) -> Iterator[str]:
    crowd = annotation.get("iscrowd", 0)
    if _id(annotation) is None:
        yield "annotation ids that are missing or no whole numbers"
    elif annotation["id"] == 0:
        yield "annotations with id 0"
    if image is None:
        yield "annotations of images that are not listed"
    if annotation["category_id"] not in categories:
        yield "annotations of unknown categories"
    if not isinstance(crowd, int | float) or crowd not in (0, 1):
        yield "values of iscrowd other than 0 and 1"
    elif crowd == 1:
        yield "crowd regions"
    if annotation.get("ignore"):
        yield "annotations with the key 'ignore'"
    if "area" not in annotation or "iscrowd" not in annotation:
        yield "annotations without area or iscrowd"
    area = annotation.get("area", 0)
    if not _is_number(area) or not 0 <= area <= _MOST_AREA:
        yield "areas that are no numbers from 0 to 1e10"
    yield from _faults_of_box(annotation.get("bbox"), image, is_crowd=crowd == 1)
    yield from _faults_of_shapes(annotation, is_crowd=crowd == 1)


def _faults_of_box(box: object, image: Mapping | None, *, is_crowd: bool) -> Iterator[str]:
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        yield "boxes that are not 4 finite numbers"
        return
    left, top, width, height = box
    if width < 0 or height < 0:
        yield "boxes of negative width or height"
        return
    if is_crowd:
        return
    if min(width, height) < _ROUNDING or not math.isfinite(left + width + top + height):
        yield "boxes without area"
        return
    if image is None or not (_is_size(image.get("width")) and _is_size(image.get("height"))):
        return
    right, low = min(left + width, image["width"]), min(top + height, image["height"])
    inside = max(0, right - max(left, 0)) * max(0, low - max(top, 0))
    beyond = max(-left, -top, left + width - image["width"], top + height - image["height"])
    if 2 * inside < width * height and beyond > _ROUNDING:
        yield "boxes less than half inside the image"
    elif beyond > _ROUNDING:
        yield "boxes partly outside the image"


def _faults_of_shapes(annotation: Mapping, *, is_crowd: bool) -> Iterator[str]:
    shape, points = annotation.get("segmentation"), annotation.get("keypoints")
    if not shape:
        if not is_crowd:
            yield "objects without a mask"
    elif isinstance(shape, dict):
        size, counts = shape.get("size"), shape.get("counts")
        is_rle = isinstance(size, list) and len(size) == 2 and all(map(_is_size, size))
        is_list = isinstance(counts, list) and all(type(n) is int and n >= 0 for n in counts)
        is_rle = is_rle and (isinstance(counts, str) or is_list)
        if not is_rle or (is_list and sum(counts) != size[0] * size[1]):
            yield "malformed segmentations"
    elif not isinstance(shape, list) or not all(
        isinstance(polygon, list) and all(map(_is_number, polygon)) for polygon in shape
    ):
        yield "malformed segmentations"
    elif not any(len(polygon) >= 6 and len(polygon) % 2 == 0 for polygon in shape):
        yield "objects whose polygons have less than 3 points"
    if points and not (
        isinstance(points, list) and len(points) % 3 == 0 and all(map(_is_number, points))
    ):
        yield "malformed keypoints"


def _id(annotation: Mapping) -> int | None:
    # bool is an int in Python.
    return annotation["id"] if type(annotation.get("id")) is int else None


def _is_size(value: object) -> bool:
    return type(value) is int and value > 0


def _is_number(value: object) -> bool:
    return type(value) is int or (type(value) is float and math.isfinite(value))
