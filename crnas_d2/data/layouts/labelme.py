"""LabelMe and tools of its format (AnyLabeling): a JSON file per image with its shapes."""

import base64
import io
import math
import os
from collections import defaultdict
from typing import Any

import numpy as np
from PIL import Image

from crnas_d2.common.errors import invalid
from crnas_d2.data.annotations.coco import Record
from crnas_d2.data.annotations.part import Part

from .collector import FROM_MASKS, JOINED, POINTS, POLYGONS, ROTATED, ROUND, Collector, progress
from .folder import Folder, json_files, part_of, stem_of
from .layout import LAYOUT_REGISTRY, Layout
from .shapes import box_of, ellipse, joined, mask, polygon

_LINES = {"point", "points", "line", "linestrip"}


@LAYOUT_REGISTRY.register("LabelMe")
class LabelMe(Layout):
    looked_for = ".json files per image with shapes and imagePath"

    @classmethod
    def find(cls, folder: Folder) -> str:
        files = json_files(folder, _is_labelme)
        return f"{os.path.dirname(files[0]) or '.'}/*.json" if files else ""

    def read(self) -> dict[str, Part]:
        collector = Collector(self.folder)
        for file in progress(json_files(self.folder, _is_labelme, strict=True)):
            with collector.problem_of(file):
                self._read(file, collector)
        collector.note_unused()
        return collector.parts()

    def _read(self, file: str, collector: Collector) -> None:
        part = part_of(os.path.dirname(file))
        content = collector.read_json(file, part)
        if not _is_labelme(content):
            raise ValueError("it has no shapes and imagePath, as the other files have")
        name = content["imagePath"]
        # Beside many folders with equal names, its path; else, as for VOC, the file's own name too.
        found, _ = self.folder.find_image(name.replace("\\", "/"), [os.path.dirname(file)])
        if not found or stem_of(found) != stem_of(file):
            found = collector.image_of(part, file, name)
        if content.get("imageData") and not (self.folder.root / found).is_file():
            fix = "Save imageData as that file"
            raise invalid("imagePath", name, but="this image exists inside the JSON alone", fix=fix)
        size = [content.get(key) or 0 for key in ("imageWidth", "imageHeight")]
        image = collector.add_image(part, found, size, file)
        groups: dict[Any, list[Record]] = defaultdict(list)
        for number, shape in enumerate(content["shapes"]):
            group = shape.get("group_id")
            key = (shape["label"], number if group is None else f"group {group}")
            kind, read = _shape(shape, image)
            if kind:
                collector.note(part, kind, f"{shape['label']} in {file}")
            if read:
                groups[key].append(read)
        for (label, _), shapes in groups.items():  # one object may consist of several shapes
            if len(shapes) > 1:
                collector.note(image["part"], JOINED, f"{len(shapes)} of {label} in {file}")
            collector.add_object(image, label, joined(shapes))


def _is_labelme(content: Any) -> bool:
    return isinstance(content, dict) and {"shapes", "imagePath"} <= content.keys()


def _shape(shape: Record, image: Record) -> tuple[str, Record | None]:
    """Return the kind of finding of a shape, and what it is as an object."""
    kind, points = shape.get("shape_type") or "polygon", shape["points"]
    if kind in _LINES:
        return POINTS, None
    if kind == "polygon":
        return POLYGONS, polygon(points)
    if kind == "rectangle":
        return "", box_of(points)
    if kind == "rotation":
        return ROTATED, box_of(points)
    if kind == "circle":
        if len(points) != 2:
            raise invalid(
                f"points of a circle '{shape['label']}'", points, "its middle and its rim"
            )
        radius = math.dist(*points)
        return ROUND, ellipse(points[0], (radius, radius))
    if kind == "mask":
        try:
            pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(shape["mask"])))) > 0
        except (OSError, ValueError) as error:
            raise ValueError(f"a mask is no image in base64: {error}") from error
        left, top = (int(value) for value in points[0])
        return FROM_MASKS, mask(pixels, left, top, (image["width"], image["height"]))
    known = ", ".join(sorted({"polygon", "rectangle", "rotation", "circle", "mask", *_LINES}))
    raise invalid(f"shape_type of '{shape['label']}'", kind, f"one of {known}")
