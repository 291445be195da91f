"""COCO: a JSON file of images, annotations and categories, or one per part."""

import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pycocotools import mask as coco_mask

from crnas_d2.common.digests import sha256
from crnas_d2.common.files import AnyPath
from crnas_d2.data.annotations.coco import Record, check_structure
from crnas_d2.data.annotations.part import Part
from crnas_d2.data.annotations.rle import is_rle

from .collector import (
    BASE_NAMES,
    FROM_MASKS,
    MISSING,
    NO_FILE,
    ODD_IDS,
    REPEATED_KEYS,
    TURNED,
    digests,
    in_order,
    unused,
    whole,
)
from .folder import Folder, json_files, part_of
from .layout import LAYOUT_REGISTRY, Layout
from .shapes import box_of, polygon

_IDS = {"images": ["id"], "annotations": ["id", "image_id", "category_id"], "categories": ["id"]}
_Findings = dict[str, list[str]]


@LAYOUT_REGISTRY.register("COCO")
class COCO(Layout):
    looked_for = ".json files with the lists images, annotations and categories"

    @classmethod
    def find(cls, folder: Folder) -> str:
        return ", ".join(json_files(folder, _is_coco))

    def read(self) -> dict[str, Part]:
        of_part: dict[str, list[str]] = defaultdict(list)
        for file in json_files(self.folder, _is_coco, strict=True):
            of_part[part_of(os.path.splitext(file)[0]) or "train"].append(file)
        parts = {}
        is_one = len(of_part) == 1
        for part, files in of_part.items():
            # COCO has the same images in instances_ and person_keypoints_ files.
            instances = [f for f in files if os.path.basename(f).startswith("instances_")]
            files = instances if len(instances) == 1 else files
            findings: _Findings = defaultdict(list)
            coco = _merge({file: _read(self.folder, file, findings) for file in files})
            for name, its in (_by_part(coco) if is_one else {part: coco}).items():
                parts[name] = Part(its, self.folder.root, digests(self.folder, files), findings)
                findings = {}  # said once
        parts = in_order(parts)
        check_categories({", ".join(part.sources): part.coco for part in parts.values()})
        _note_unlisted(self.folder, parts)
        return parts


def coco_part(file: AnyPath, image_root: AnyPath) -> Part:
    """Read one file, whose images are in a folder or below it.

    Raises:
        ValueError: an unreadable file, or no such folder.
    """
    if not Path(image_root).is_dir():
        raise ValueError(f"The image folder {image_root} of {file} does not exist.")
    folder = Folder(image_root)
    findings: _Findings = defaultdict(list)
    coco = _read(folder, os.path.relpath(file, image_root), findings, base="")
    part = Part(coco, Path(image_root), {Path(file).name: sha256(file)}, findings)
    _note_unlisted(folder, {"": part})
    return part


def _is_coco(content: Any) -> bool:
    if not isinstance(content, dict):
        return False
    images, annotations = (content.get(key) for key in ("images", "annotations"))
    if not isinstance(images, list) or not isinstance(annotations, list):
        return False
    return "categories" in content or "category_id" in str(annotations[:1])


def _read(folder: Folder, file: str, findings: _Findings, base: str | None = None) -> Record:
    """Read a file; names of its images become relative to the folder.

    Args:
        base: the folder of its images, if it is known.
    """
    coco, repeated = folder.json(file, keep=False)
    for words in repeated:
        findings[REPEATED_KEYS].append(f"{file}: {words}")
    for records, keys in _IDS.items() if isinstance(coco, dict) else ():
        for position, record in enumerate(coco.get(records) or ()):
            for key in keys if isinstance(record, dict) else ():
                value = record.get(key)
                if value is not None and type(number := whole(value)) is not type(value):
                    findings[ODD_IDS].append(f"{file}: {key} {value!r} of {records}[{position}]")
                    record[key] = number
    coco = check_structure(coco, folder.root / file)
    names = [image["file_name"] for image in coco["images"]]
    base = folder.base_of(names, file) if base is None else base
    for image in coco["images"]:
        name = image["file_name"]
        found, words = folder.find_image(name, [base, os.path.dirname(file), ""])
        if words:
            findings[BASE_NAMES if found else MISSING].append(words)
        image["file_name"] = found or os.path.normpath(os.path.join(base, name))
    for annotation in coco["annotations"]:
        shape, attributes = annotation.get("segmentation"), annotation.get("attributes")
        if not shape and isinstance(attributes, dict) and attributes.get("rotation"):
            findings[TURNED].append(f"annotation {annotation.get('id')} of {file}")
        if shape and not annotation.get("bbox"):
            try:
                box = _box_of_mask(shape)
            except (ValueError, TypeError, KeyError, IndexError):
                continue  # which is found as malformed
            findings[FROM_MASKS].append(f"annotation {annotation.get('id')} of {file}")
            annotation.update(box | {"area": annotation.get("area", box["area"])})
    return coco


def _box_of_mask(shape: Any) -> Record:
    if isinstance(shape, list):
        shapes = [polygon(list(zip(p[::2], p[1::2], strict=True))) for p in shape]
        points = [point for p in shape for point in zip(p[::2], p[1::2], strict=True)]
        return box_of(points) | {"area": sum(shape["area"] for shape in shapes)}
    if not is_rle(shape):
        raise ValueError("malformed")
    height, width = shape["size"]
    rle = coco_mask.frPyObjects(shape, height, width) if type(shape["counts"]) is list else shape
    return {"bbox": coco_mask.toBbox(rle).tolist(), "area": float(coco_mask.area(rle))}


def _merge(cocos: Mapping[str, Record]) -> Record:
    """Return one dataset of several files, whose images are numbered anew if their ids collide."""
    check_categories(cocos)
    first, *others = cocos.values()
    for other in others:
        ids = {image["id"] for image in first["images"]}
        if ids & {image["id"] for image in other["images"]}:
            shift = max(ids) + 1 - min(image["id"] for image in other["images"])
            for image in other["images"]:
                image["id"] += shift
            for annotation in other["annotations"]:
                annotation["image_id"] += shift
        first = {**first, **{key: first[key] + other[key] for key in ("images", "annotations")}}
    return first


def _by_part(coco: Record) -> dict[str, Record]:
    """Return one file by the parts that its images name: by the key ``split``, or their folders."""
    ids: dict[str, set[int]] = defaultdict(set)
    for image in coco["images"]:
        part = part_of(str(image.get("split") or "")) or part_of(
            os.path.dirname(image["file_name"])
        )
        ids[part or "train"].add(image["id"])
    if len(ids) < 2:
        return {"train": coco}
    unknown = {a["image_id"] for a in coco["annotations"]}.difference(*ids.values())
    ids["train"] |= unknown
    return {
        part: coco
        | {"images": [image for image in coco["images"] if image["id"] in its]}
        | {"annotations": [a for a in coco["annotations"] if a["image_id"] in its]}
        for part, its in ids.items()
    }


def check_categories(cocos: Mapping[str, Record]) -> None:
    categories = {
        name: sorted((category["id"], category["name"]) for category in coco["categories"])
        for name, coco in cocos.items()
    }
    first, *others = categories
    for other in others:
        if categories[other] != categories[first]:
            raise ValueError(
                f"{first} and {other} have different categories: {categories[first]} and "
                f"{categories[other]}; expected the same ids and names."
            )


def _note_unlisted(folder: Folder, parts: Mapping[str, Part]) -> None:
    """Note the images that no file lists, in the folders of those that are listed."""
    used = {image["file_name"]: part for part in parts.values() for image in part.coco["images"]}
    for image, part in unused(folder, used):
        part.findings.setdefault(NO_FILE, []).append(image)
