"""Find the faults of a COCO dataset."""

import math
import os
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from crnas_d2.data.images.files import ImageFile

from .coco import Record
from .faults import KINDS
from .image_faults import Taken, find_image_faults, is_size
from .mends import Fault
from .rle import is_rle

_ROUNDING = 0.02  # pixels: COCO has two decimals; a narrower box is none, and as much may stand out
# COCO's evaluation takes no larger object (its area range "all"), and as many detections per image.
_MOST_AREA, _MOST_DETECTIONS = 1e10, 100
_FEW = 3  # odd boxes, which say nothing of how a file was written
_SOME = 0.15  # of the boxes; fewer may leave their images by a careless hand
_MANY, _ENOUGH = 10, 10_000  # boxes whose sides are compared, at least and at most


def find_faults(
    coco: Record,
    files: Mapping[str, ImageFile] | None = None,
    taken: Mapping[str, Taken] | None = None,
) -> dict[str, list[Fault]]:
    """Find the faults of a dataset.

    Args:
        coco: of :func:`~crnas_d2.data.annotations.coco.read_coco`.
        files: its decoded image files, by name; without, they are not compared.
        taken: images that other datasets have, by digest, see :func:`images_taken`.

    Returns:
        for each of :data:`KINDS` that occurs, where, in the order of the table.
    """
    found: dict[str, list[Fault]] = defaultdict(list)
    if not coco["categories"]:
        found["no categories"].append(Fault("the list is empty"))
    annotations = coco.get("annotations", [])
    ids = [annotation.get("id") for annotation in annotations]
    for kind, values in (
        ("image ids that occur twice", [i["id"] for i in coco["images"]]),
        (
            "image files that are listed twice",
            [os.path.normpath(i["file_name"]) for i in coco["images"]],
        ),
        ("category ids that occur twice", [c["id"] for c in coco["categories"]]),
        ("category names that occur twice", [c["name"] for c in coco["categories"]]),
        ("annotation ids that occur twice", [i for i in ids if type(i) is int]),
    ):
        found[kind] = [Fault(str(value)) for value, n in Counter(values).items() if n > 1]
    for image in coco["images"]:
        if not all(is_size(image.get(side)) for side in ("width", "height")):
            size = files[image["file_name"]].size if files else None
            found["image sizes that are no whole numbers above 0"].append(
                Fault(
                    f"{image.get('width')} x {image.get('height')} of {image['file_name']}",
                    image,
                    dict(zip(("width", "height"), size, strict=True)) if size else {},
                )
            )
    if files is not None:
        for kind, fault in find_image_faults(coco, files, taken or {}):
            found[kind].append(fault)
    for kind, places in _faults_of_names(coco["categories"]):
        found[kind].append(Fault(places))
    images = {image["id"]: image for image in coco["images"]}
    if verdict := _judge_all_boxes(annotations, images):
        kind, example = verdict
        found[kind].append(Fault(f"{len(annotations):,} boxes, e.g. {example}"))
    copies = set(map(id, _copies(annotations)))
    categories = {category["id"] for category in coco["categories"]}
    objects: Counter[int] = Counter()
    for annotation in annotations:
        image = images.get(annotation["image_id"])
        where = f"annotation {annotation.get('id')}"
        where += f" of {image['file_name']}" if image else f" of image {annotation['image_id']}"
        for kind in (
            *_faults(annotation, image, categories),
            *_faults_of_shapes(annotation, image),
        ):
            found[kind].append(Fault(where, annotation))
        if annotation.get("ignore"):
            found["annotations with the key 'ignore'"].append(
                Fault(where, annotation, {"iscrowd": 1, "ignore": 0})
            )
        kind, box = _judge_box(annotation, image)
        if id(annotation) in copies:
            fault = Fault(f"{where}: {annotation.get('bbox')}", annotation)
            found["objects that occur twice"].append(fault)
        area = min(box[2] * box[3], _MOST_AREA)
        if kind:
            written = annotation.get("voc_box", annotation.get("bbox"))
            right: Record = {"bbox": box} | (
                {} if annotation.get("segmentation") else {"area": area}
            )
            if kind == "VOC boxes whose corners are exchanged":
                right["voc_box"] = [box[0] + 1, box[1] + 1, box[0] + box[2], box[1] + box[3]]
            found[kind].append(Fault(f"{where}: {written}", annotation, right))
        if not _is_number(stated := annotation.get("area", 0)) or not 0 <= stated <= _MOST_AREA:
            found["areas that are no numbers from 0 to 1e10"].append(
                Fault(where, annotation, {"area": area})
            )
        filled = {"area": area, "iscrowd": 0}
        if right := {key: filled[key] for key in filled if key not in annotation}:
            found["annotations without area or iscrowd"].append(Fault(where, annotation, right))
        objects[annotation["image_id"]] += annotation.get("iscrowd") != 1
    for image_id, image in images.items():
        if image_id not in objects:
            found["images without objects"].append(Fault(image["file_name"]))
        elif objects[image_id] > _MOST_DETECTIONS:
            found["images with more than 100 objects"].append(Fault(image["file_name"]))
    return {kind: found[kind] for kind in KINDS if found.get(kind)}


def _faults_of_names(categories: Sequence[Record]) -> Iterator[tuple[str, str]]:
    alike: dict[str, set[str]] = defaultdict(set)
    for category in categories:
        alike[" ".join(category["name"].split()).casefold()].add(category["name"])
    for names in alike.values():
        if len(names) > 1:
            places = ", ".join(repr(name) for name in sorted(names))
            yield "category names that differ in case or blanks alone", places


def _copies(annotations: Sequence[Record]) -> Iterator[Record]:
    """Yield the objects that have class and box of an earlier one in their image."""
    of_image: dict[int, list[Record]] = defaultdict(list)
    for annotation in annotations:
        of_image[annotation["image_id"]].append(annotation)
    for objects in of_image.values():
        seen: set[tuple[Any, ...]] = set()
        for annotation in objects:
            category = annotation["category_id"]
            box: Any = annotation.get("bbox")
            identities: list[tuple[Any, ...]] = [(category, str(box))]
            if are_numbers(box, 4):
                # Numbers that differ by less than 0.001 may be rounded apart, but not in both.
                shifts = (0, 0.005)
                identities = [(category, n, *(round(x + n, 2) for x in box)) for n in shifts]
            if not seen.isdisjoint(identities):
                yield annotation
            seen.update(identities)


def _judge_all_boxes(
    annotations: Sequence[Record], images: Mapping[int, Record]
) -> tuple[str, list[float]] | None:
    """Return the kind of fault of all boxes together and a box, or nothing."""
    boxes = [each for each in annotations if are_numbers(each.get("bbox"), 4)]
    small = [each["bbox"] for each in boxes if 0 < max(each["bbox"]) <= 1]
    if small and len(small) >= 0.1 * len(boxes):
        return "files whose boxes are below one pixel", small[0]
    corners = odd = 0
    relative: list[list[float]] = []
    for each in boxes:
        left, top, width, height = each["bbox"]
        image = images.get(each["image_id"], {})
        if not all(is_size(image.get(side)) for side in ("width", "height")):
            continue
        most = image["width"] + 1, image["height"] + 1
        corners += left < width <= most[0] and top < height <= most[1]
        area: Any = None if each.get("segmentation") else each.get("area")
        is_other = (
            _is_number(area)
            and math.isclose(area, (width - left) * (height - top), rel_tol=0.02)
            and not math.isclose(area, width * height, rel_tol=0.02)
        )
        is_out = min(left, top) < -1 or left + width > most[0] or top + height > most[1]
        odd += is_other or is_out
        if len(relative) < _ENOUGH:
            relative.append([side / most[n % 2] for n, side in enumerate(each["bbox"])])
    is_odd = odd >= max(_FEW, 0.4 * len(boxes))
    are_some_odd = odd >= max(_FEW, _SOME * len(boxes))
    if relative and corners >= 0.95 * len(boxes) and (are_some_odd or _rise_together(relative)):
        return "files whose boxes look like two corners", boxes[0]["bbox"]
    return ("files most of whose boxes leave their images", boxes[0]["bbox"]) if is_odd else None


def _rise_together(boxes: Sequence[Sequence[float]]) -> bool:
    """Whether the third and fourth numbers rise with the others, as corners of small objects do."""
    if len(set(map(tuple, boxes))) < _MANY:
        return False
    try:
        lefts, tops, rights, lows = zip(*boxes, strict=True)
        both = statistics.correlation(lefts, rights), statistics.correlation(tops, lows)
    except statistics.StatisticsError:  # equal numbers
        return False
    return min(both) > 0.9


def _faults(annotation: Record, image: Record | None, categories: set[int]) -> Iterator[str]:
    if type(annotation.get("id")) is not int:  # bool is an int in Python
        yield "annotation ids that are missing or no whole numbers"
    elif annotation["id"] <= 0:
        yield "annotation ids below 0" if annotation["id"] else "annotations with id 0"
    if image is None:
        yield "annotations of images that are not listed"
    if annotation["category_id"] not in categories:
        yield "annotations of unknown categories"
    crowd = annotation.get("iscrowd", 0)
    if not isinstance(crowd, int | float) or crowd not in (0, 1):
        yield "values of iscrowd other than 0 and 1"
    elif crowd == 1:
        yield "crowd regions"


def _judge_box(annotation: Record, image: Record | None) -> tuple[str, list[float]]:
    """Return the kind of fault of a box, or nothing, and the box, clipped where that helps."""
    box: Any = annotation.get("bbox")
    if not are_numbers(box, 4):
        return "boxes that are not 4 finite numbers", [0, 0, 0, 0]
    left, top, width, height = box
    corners: Any = annotation.get("voc_box")
    has_corners = are_numbers(corners, 4)
    if has_corners and (corners[0] > corners[2] or corners[1] > corners[3]):
        left, right = sorted(corners[::2])
        top, low = sorted(corners[1::2])
        right_box = [left - 1, top - 1, right - left + 1, low - top + 1]
        return "VOC boxes whose corners are exchanged", right_box
    if width < 0 or height < 0:
        right_box = [min(left, left + width), min(top, top + height), abs(width), abs(height)]
        return "boxes of negative width or height", right_box
    is_crowd = annotation.get("iscrowd", 0) == 1
    without_area = "crowd regions without area in the image" if is_crowd else "boxes without area"
    right, low = left + width, top + height
    if min(width, height) < _ROUNDING or not math.isfinite(right + low):
        return without_area, box
    # VOC's corners are pixels inside, so a box with equal ones has an extent.
    if has_corners and (corners[0] == corners[2] or corners[1] == corners[3]):
        return "VOC boxes with equal corners", box
    if image is None or not (is_size(image.get("width")) and is_size(image.get("height"))):
        return "", box
    if max(-left, -top, right - image["width"], low - image["height"]) <= _ROUNDING:
        return "", box
    left, top = max(left, 0), max(top, 0)
    inside = [left, top, min(right, image["width"]) - left, min(low, image["height"]) - top]
    if min(inside[2:]) < _ROUNDING:
        return without_area if is_crowd else "boxes wholly outside the image", box
    if 2 * inside[2] * inside[3] < width * height and not is_crowd:
        return "boxes less than half inside the image", inside
    return "boxes partly outside the image", inside


def _faults_of_shapes(annotation: Record, image: Record | None) -> Iterator[str]:
    shape, points = annotation.get("segmentation"), annotation.get("keypoints")
    if not shape:
        if annotation.get("iscrowd", 0) != 1:
            yield "objects without a mask"
    elif isinstance(shape, dict):
        if not is_rle(shape):
            yield "malformed segmentations"
        elif image and shape["size"] != [image.get("height"), image.get("width")]:
            yield "masks (RLE) of another size than their image"
    elif not isinstance(shape, list) or not all(map(are_numbers, shape)):
        yield "malformed segmentations"
    elif not any(len(polygon) >= 6 and len(polygon) % 2 == 0 for polygon in shape):
        yield "objects whose polygons have less than 3 points"
    elif _is_apart(shape, annotation.get("bbox")):
        yield "polygons apart from their boxes"
    if points and not (are_numbers(points) and len(points) % 3 == 0):
        yield "malformed keypoints"


def _is_apart(polygons: Sequence[Sequence[float]], box: Any) -> bool:
    """Whether a box and the points of its polygons have nothing in common."""
    if not are_numbers(box, 4):
        return False
    for axis in (0, 1):
        sides = [side for polygon in polygons for side in polygon[axis::2]]
        if max(sides) < box[axis] - 1 or min(sides) > box[axis] + box[axis + 2] + 1:
            return True
    return False


def are_numbers(values: Any, count: int | None = None) -> bool:
    """Whether values are a list of finite numbers, and so many."""
    is_list = isinstance(values, list) and (count is None or len(values) == count)
    return is_list and all(map(_is_number, values))


def _is_number(value: object) -> bool:
    return type(value) is int or (type(value) is float and math.isfinite(value))
