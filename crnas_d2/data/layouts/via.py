"""VGG Image Annotator (VIA 1 and 2): a project, or its export of annotations as JSON."""

import math
import os
from typing import Any

from crnas_d2.common.errors import invalid
from crnas_d2.data.annotations.coco import Record
from crnas_d2.data.annotations.part import Part

from .collector import POINTS, POLYGONS, ROUND, Collector, progress, read_sizes
from .folder import Folder, json_files, part_of
from .layout import LAYOUT_REGISTRY, Layout
from .shapes import ellipse, polygon


@LAYOUT_REGISTRY.register("VIA")
class VIA(Layout):
    looked_for = "a .json file with _via_img_metadata, or with filename and regions of each image"

    @classmethod
    def find(cls, folder: Folder) -> str:
        return ", ".join(json_files(folder, lambda content: bool(_entries(content))))

    def read(self) -> dict[str, Part]:
        collector = Collector(self.folder)
        for file in json_files(self.folder, lambda content: bool(_entries(content)), strict=True):
            with collector.problem_of(file):
                self._read(file, collector)
        collector.note_unused()
        return collector.parts()

    def _read(self, file: str, collector: Collector) -> None:
        part = part_of(os.path.splitext(file)[0])
        entries = list(_entries(collector.read_json(file, part)).values())
        attribute = self._class_attribute(entries)
        bases = [self.folder.base_of([e["filename"] for e in entries], file), ""]
        names = [collector.find_image(part, e["filename"], bases) for e in entries]
        sizes = read_sizes(self.folder.root, names)
        for entry, name in zip(progress(entries), names, strict=True):
            image = collector.add_image(part, name, sizes[name], file)
            for number, region in enumerate(_regions(entry)):
                with collector.problem_of(f"{file}: region {number} of {entry['filename']}"):
                    label = _label(region, attribute)
                    kind, shape = _shape(region["shape_attributes"])
                    if kind:
                        collector.note(part, kind, f"{label} in {name}")
                    if shape:
                        collector.add_object(image, label, shape)

    def _class_attribute(self, entries: list[Record]) -> str:
        """Return the attribute of regions that is their class.

        Raises:
            ValueError: there is none, or there are several and the user names none of them.
        """
        regions = [region for entry in entries for region in _regions(entry)]
        names = dict.fromkeys(key for region in regions for key in region["region_attributes"])
        if self.class_attribute in names or (not self.class_attribute and len(names) == 1):
            return self.class_attribute or next(iter(names))
        if not regions:
            return ""
        expected = f"one of {', '.join(names)}" if names else "an attribute in each region"
        key, fix = "the attribute of regions with their class", "Name it with --class-attribute"
        raise invalid(key, self.class_attribute, expected, fix=fix)


def _entries(content: Any) -> dict[str, Record]:
    """Return the entry of each image, or nothing."""
    found = content.get("_via_img_metadata", content) if isinstance(content, dict) else None
    if not isinstance(found, dict):
        return {}
    is_via = all(
        isinstance(e, dict) and {"filename", "regions"} <= e.keys() for e in found.values()
    )
    return found if is_via else {}


def _regions(entry: Record) -> list[Record]:
    regions = entry["regions"]  # VIA 1 numbers them
    return list(regions.values()) if isinstance(regions, dict) else regions


def _label(region: Record, attribute: str) -> str:
    value = region["region_attributes"].get(attribute)
    if isinstance(value, dict):  # of checkboxes
        chosen = [name for name, is_chosen in value.items() if is_chosen]
        value = chosen[0] if len(chosen) == 1 else chosen
    if not isinstance(value, str) or not value.strip():
        raise invalid(attribute, value, "the name of one class")
    return value.strip()


def _shape(shape: Record) -> tuple[str, Record | None]:
    """Return the kind of finding of a region, and what it is as an object."""
    kind = shape["name"]
    if kind in ("point", "polyline", "line"):
        return POINTS, None
    if kind == "rect":
        return "", {"bbox": [float(shape[key]) for key in ("x", "y", "width", "height")]}
    if kind in ("polygon", "polygone"):
        xs, ys = shape["all_points_x"], shape["all_points_y"]
        return POLYGONS, polygon(list(zip(xs, ys, strict=True)))
    if kind in ("circle", "ellipse"):
        keys = ("cx", "cy", "r", "r") if kind == "circle" else ("cx", "cy", "rx", "ry")
        x, y, *radii = (float(shape[key]) for key in keys)
        angle = math.degrees(float(shape.get("theta") or 0))
        return ROUND, ellipse((x, y), (radii[0], radii[1]), angle)
    raise invalid("its shape", kind, "rect, polygon, circle, ellipse, polyline, line or point")
