"""CVAT for images: an xml file with all images and their shapes."""

import os
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from crnas_d2.common.errors import invalid
from crnas_d2.data.annotations.coco import Record
from crnas_d2.data.annotations.part import Part

from .collector import FROM_MASKS, POINTS, POLYGONS, ROTATED, ROUND, Collector, progress
from .folder import Folder, part_of
from .layout import LAYOUT_REGISTRY, Layout
from .shapes import ellipse, mask, polygon, rotated
from .xml_files import parse_xml, xml_files

_WITHOUT_BOX = {"polyline", "points", "skeleton", "tag"}


@LAYOUT_REGISTRY.register("CVAT")
class CVAT(Layout):
    looked_for = "an .xml file with <annotations>, 'CVAT for images'"

    @classmethod
    def find(cls, folder: Folder) -> str:
        return ", ".join(xml_files(folder, "annotations"))

    def read(self) -> dict[str, Part]:
        files = xml_files(self.folder, "annotations")
        trees = {file: parse_xml(self.folder.root / file) for file in files}
        labels = [label for tree in trees.values() for label in tree.iterfind("meta//label")]
        names = dict.fromkeys(
            label.findtext("name", "") for label in labels if label.find("parent") is None
        )
        # The order of CVAT's own list of labels, which not every file has.
        collector = Collector(self.folder, dict(enumerate(names, start=1)) if names else None)
        for file, tree in trees.items():
            with collector.problem_of(file):
                self._read(file, tree, collector)
        collector.note_unused()
        return collector.parts()

    def _read(self, file: str, tree: Element, collector: Collector) -> None:
        if tree.find("track") is not None:
            expected = "'CVAT for images', which the same menu of CVAT exports"
            raise invalid("the file", "CVAT for video", expected)
        images = tree.findall("image")
        named = [element.get("name", "") for element in images]
        base = self.folder.base_of(named, file)
        bases = [base, os.path.dirname(file), ""]
        subsets = {element.get("subset", "") for element in images}
        others = sorted(subset for subset in subsets - {"", "default"} if not part_of(subset))
        if others and any(map(part_of, subsets)):
            fix = "Rename the subset in CVAT"
            raise invalid("subset", others[0], "train, val or test, as of other images", fix=fix)
        for element, name in zip(progress(images), named, strict=True):
            part = part_of(element.get("subset", "")) or part_of(os.path.dirname(file))
            found = collector.find_image(part, name, bases)
            size = [element.get(side) or 0 for side in ("width", "height")]
            image = collector.add_image(part, found, size, file)
            for shape in element:
                with collector.problem_of(f"{file}: <{shape.tag}> of {name}"):
                    self._add_object(collector, image, shape)

    def _add_object(self, collector: Collector, image: Record, element: Element) -> None:
        name = element.get("label", "")
        where = f"{name} in {image['file_name']}"
        kind, shape = _shape(element, image)
        if kind:
            collector.note(image["part"], kind, where)
        if shape:
            more = {a.get("name", ""): a.text or "" for a in element.iterfind("attribute")}
            extra: dict[str, Any] = {"attributes": more} if more else {}
            collector.add_object(image, name, shape, **extra)


def _shape(element: Element, image: Record) -> tuple[str, Record | None]:
    """Return the kind of finding of a shape, and what it is as an object."""

    def numbers(*keys: str) -> list[float]:
        return [float(element.attrib[key]) for key in keys]

    angle = float(element.get("rotation") or 0)
    if element.tag in _WITHOUT_BOX:
        return POINTS, None
    if element.tag == "box":
        left, top, right, bottom = numbers("xtl", "ytl", "xbr", "ybr")
        middle = (left + right) / 2, (top + bottom) / 2
        box = [left, top, right - left, bottom - top]
        return (ROTATED, rotated(box, angle, middle)) if angle else ("", {"bbox": box})
    if element.tag == "polygon":
        points = [pair.split(",") for pair in element.attrib["points"].split(";")]
        return POLYGONS, polygon([(float(x), float(y)) for x, y in points])
    if element.tag == "ellipse":
        x, y, a, b = numbers("cx", "cy", "rx", "ry")
        return ROUND, ellipse((x, y), (a, b), angle)
    if element.tag == "mask":
        left, top, width, height = map(int, numbers("left", "top", "width", "height"))
        runs = [int(run) for run in element.attrib["rle"].split(",")]
        # Runs of 0 and of 1 in turn, row by row.
        pixels = np.repeat(np.arange(len(runs)) % 2, runs).reshape(height, width)
        return FROM_MASKS, mask(pixels, left, top, (image["width"], image["height"]))
    known = "box, polygon, ellipse, mask, polyline, points, skeleton or tag"
    raise invalid("this shape", element.tag, known)
