"""Errors in COCO annotations: each one is counted, then fixed in a copy or refused."""

import math
from collections import Counter
from collections.abc import Mapping

from crnas_d2.data.annotations.faults import KINDS, find_faults
from crnas_d2.data.images.files import ImageFile

from .findings import REFUSED, Report

# COCO rounds coordinates to two decimals, so a box may cross the border by that much, in pixels.
_TOLERANCE = 0.02
# Kinds of faults in which any guess could be wrong, besides those that are checked here.
_NOT_MENDED = (
    "values of iscrowd other than 0 and 1",
    "malformed segmentations",
    "malformed keypoints",
)


def check_annotations(
    coco: dict, files: Mapping[str, ImageFile], others: Mapping[str, str] | None = None
) -> Report:
    """Check a dataset against itself and against its image files.

    Args:
        coco: as read from a COCO JSON file; it is not changed.
        files: every image file, see :func:`~crnas_d2.data.images.files.read_image_files`.
        others: the images of other parts, from digest to description. They are dropped here,
            because an image must not be in two parts.

    Returns:
        the report. If it refuses something, its ``coco`` must not be used.
    """
    images = [dict(image) for image in coco["images"]]
    annotations = [dict(annotation) for annotation in coco["annotations"]]
    report = Report({**coco, "images": images, "annotations": annotations})

    for kind, places in find_faults(coco).items():
        if kind in _NOT_MENDED:
            report.add(kind, REFUSED + KINDS[kind].fix, places)
    _check_names(report, coco["categories"], images)
    images = _check_files(report, images, files, others or {})
    known = {image["id"]: image for image in images}
    annotations = _check_references(report, annotations, known)
    annotations = _check_boxes(report, annotations, known)
    _fill_in(report, annotations)
    _check_polygons(report, annotations)

    report.add(
        "crowd boxes",
        "kept: not trained on, and ignored in the evaluation",
        (f"annotation {a['id']}" for a in annotations if a["iscrowd"]),
    )
    occupied = {annotation["image_id"] for annotation in annotations}
    report.add(
        "empty images",
        "kept: training skips them (DATALOADER.FILTER_EMPTY_ANNOTATIONS), the evaluation does not",
        (image["file_name"] for image in images if image["id"] not in occupied),
    )
    report.coco.update(images=images, annotations=annotations)
    return report


def _check_names(report: Report, categories: list[dict], images: list[dict]) -> None:
    nothing = [] if categories else ["the list is empty"]
    report.add("no categories", REFUSED + "a detector needs at least one", nothing)
    for what, records, key, why in (
        ("category names", categories, "name", "merge the categories, or rename one"),
        ("category ids", categories, "id", "give each category an id of its own"),
        ("image ids", images, "id", "annotations cannot be assigned to images; renumber them"),
        ("image file names", images, "file_name", "list each file once, with all its annotations"),
    ):
        repeated = [v for v, n in Counter(record[key] for record in records).items() if n > 1]
        report.add(f"duplicate {what}", REFUSED + why, map(str, repeated))


def _check_files(report, images, files, others) -> list[dict]:
    bad = [(i["file_name"], files[i["file_name"]].problem) for i in images]
    missing = [name for name, problem in bad if problem == "missing"]
    broken = [f"{name} ({problem})" for name, problem in bad if problem not in ("", "missing")]
    mend = "restore the files, or remove the images from the annotations"
    report.add("missing image files", REFUSED + mend, missing)
    report.add("image files that cannot be decoded", REFUSED + mend, broken)

    unknown, wrong, repeated, kept = [], [], [], []
    first: dict[str, str] = {}
    for image in images:
        name, file = image["file_name"], files[image["file_name"]]
        stated = tuple(
            size if type(size := image.get(side)) is int and size > 0 else 0
            for side in ("width", "height")
        )
        if file.size and 0 in stated:
            unknown.append(name)
            image["width"], image["height"] = file.size
        elif file.size and stated != file.size:
            wrong.append(f"{name}: {stated}, file {file.size}")
        twin = others.get(file.digest) or first.get(file.digest)
        if file.digest and twin:
            repeated.append(f"{name} = {twin}")
            continue
        first[file.digest] = name
        kept.append(image)
    report.add("image sizes not stated", "filled in from the files", unknown)
    why = "the boxes belong to an image of another size; fix width and height, or the image"
    report.add("image sizes that are not those of the files", REFUSED + why, wrong)
    why = "dropped with their annotations: an image must not be in two parts of the data"
    report.add("images with the content of another", why, repeated)
    return kept


def _check_references(report, annotations, images) -> list[dict]:
    category_ids = {category["id"] for category in report.coco["categories"]}
    listed = {image["id"] for image in report.coco["images"]}
    strays = [a for a in annotations if a["image_id"] not in listed]
    # The annotations of images that were dropped above are not counted as errors.
    annotations = [a for a in annotations if a["image_id"] in images]
    report.add(
        "annotations of images that are not listed",
        "dropped: there is no image for them",
        (f"annotation {a.get('id')} of image {a['image_id']}" for a in strays),
    )
    report.add(
        "annotations of unknown categories",
        REFUSED + "add the categories, or remove the annotations",
        (
            f"annotation {a.get('id')} of category {a['category_id']}"
            for a in annotations
            if a["category_id"] not in category_ids
        ),
    )
    report.add(
        "annotations with the key 'ignore'",
        REFUSED + "Detectron2 does not support it; mark them as crowd, or remove the key",
        (f"annotation {a.get('id')}" for a in annotations if a.get("ignore")),
    )
    return annotations


def _check_boxes(report, annotations, images) -> list[dict]:
    kinds: dict[str, list[str]] = {"malformed": [], "flat": [], "outside": [], "clipped": []}
    kept = []
    for annotation in annotations:
        image = images[annotation["image_id"]]
        kind, box = _judge(annotation, image.get("width") or 0, image.get("height") or 0)
        if kind:
            written = annotation.get("voc_box", annotation.get("bbox"))
            kinds[kind].append(f"{written} in {image['file_name']}")
        if kind == "clipped":
            annotation["bbox"] = box
            if not annotation.get("segmentation"):
                annotation["area"] = box[2] * box[3]
        if kind in (None, "clipped"):
            kept.append(annotation)
    report.add("malformed boxes", REFUSED + "expected 4 finite numbers", kinds["malformed"])
    report.add("zero-area boxes", "dropped", kinds["flat"])
    report.add("boxes wholly outside the image", "dropped", kinds["outside"])
    report.add("boxes partly outside the image", "clipped to the image", kinds["clipped"])
    return kept


def _judge(annotation: dict, width: float, height: float) -> tuple[str | None, list[float]]:
    """Return the kind of error of a box, or None; and the box, clipped if it is ``clipped``."""
    box = annotation.get("bbox")
    if not (
        isinstance(box, list)
        and len(box) == 4
        and all(isinstance(v, (int, float)) and math.isfinite(v) for v in box)
    ):
        return "malformed", []
    # VOC's corners are inclusive, so a box with equal ones has a pixel; it is an annotation error.
    corners = annotation.get("voc_box", [0, 0, 1, 1])
    if min(box[2:]) <= 0 or corners[0] >= corners[2] or corners[1] >= corners[3]:
        return "flat", []
    left, top, right, bottom = box[0], box[1], box[0] + box[2], box[1] + box[3]
    if right <= 0 or bottom <= 0 or left >= width or top >= height:
        return "outside", []
    if max(-left, -top, right - width, bottom - height) <= _TOLERANCE:
        return None, box
    left, top = max(left, 0), max(top, 0)
    return "clipped", [left, top, min(right, width) - left, min(bottom, height) - top]


def _fill_in(report: Report, annotations: list[dict]) -> None:
    for annotation in annotations:
        area = annotation.get("area", -1)
        if not isinstance(area, (int, float)) or not 0 <= area < math.inf:
            annotation.pop("area", None)
    incomplete = [a for a in annotations if "area" not in a or "iscrowd" not in a]
    ids = [f"annotation {a.get('id')}" for a in incomplete]
    report.add("annotations without area or iscrowd", "filled in: width * height, 0", ids)
    for annotation in incomplete:
        annotation.setdefault("area", annotation["bbox"][2] * annotation["bbox"][3])
        annotation.setdefault("iscrowd", 0)

    ids = [annotation.get("id") for annotation in annotations]
    counts = Counter(i for i in ids if type(i) is int)
    faulty = [i for i, n in counts.items() if n > 1 or i < 1]
    faulty += [i for i in ids if type(i) is not int]
    action = "all annotations renumbered from 1; COCO's evaluation treats id 0 as 'no match'"
    report.add("duplicate, zero or missing annotation ids", action, map(str, faulty))
    if faulty:
        for number, annotation in enumerate(annotations, start=1):
            annotation["id"] = number


def _check_polygons(report: Report, annotations: list[dict]) -> None:
    without = []
    for annotation in annotations:
        polygons = annotation.get("segmentation")
        are_lists = isinstance(polygons, list) and all(isinstance(p, list) for p in polygons)
        if polygons and are_lists and max(map(len, polygons)) < 6:
            without.append(f"annotation {annotation['id']}")
    report.add(
        "objects whose polygons have less than 3 points",
        "kept, but Detectron2 skips them: remove the key segmentation to use the boxes",
        without,
    )
