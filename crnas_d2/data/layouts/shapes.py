"""Shapes of objects: polygons, ellipses, turned boxes and masks as COCO has them, with a box."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from crnas_d2.common.formats import format_few
from crnas_d2.data.annotations.coco import Record

Point = tuple[float, float]
Box = list[float]


def box_of(points: Sequence[Point]) -> Record:
    """Return the upright box around points.

    Raises:
        ValueError: a coordinate that is no finite number, or no points.
    """
    xs, ys = zip(*((float(x), float(y)) for x, y in points), strict=True)
    if not all(map(math.isfinite, xs + ys)):
        raise ValueError(f"coordinates {format_few(points)} that are no finite numbers")
    return {"bbox": [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]}


def polygon(points: Sequence[Point]) -> Record:
    """Return box, area and segmentation of a polygon."""
    if len(points) < 3:
        raise ValueError(f"a polygon of {len(points)} points; expected 3 or more")
    box = box_of(points)
    x, y = np.asarray(points, dtype=float).T
    area = abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2
    flat = [float(value) for point in points for value in point]
    return box | {"area": area, "segmentation": [flat]}


def joined(shapes: Sequence[Record]) -> Record:
    """Return one object of several shapes; it has a mask if each of them is a polygon."""
    if len(shapes) == 1:
        return shapes[0]
    corners = [(x, y) for s in shapes for x, y in _corners(s["bbox"])]
    polygons = [s["segmentation"] for s in shapes if isinstance(s.get("segmentation"), list)]
    if len(polygons) < len(shapes):
        return box_of(corners)
    area = sum(shape["area"] for shape in shapes)
    return box_of(corners) | {"area": area, "segmentation": list(itertools.chain(*polygons))}


def _corners(box: Box) -> list[Point]:
    left, top, width, height = box
    return [(left + x, top + y) for x in (0, width) for y in (0, height)]


def rotated(box: Box, degrees: float, about: Point) -> Record:
    """Return the upright hull of a box that is turned clockwise, as seen on the screen."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    corners = [(x - about[0], y - about[1]) for x, y in _corners(box)]
    turned = [(about[0] + x * cos - y * sin, about[1] + x * sin + y * cos) for x, y in corners]
    return box_of(turned)


def ellipse(center: Point, radii: Point, degrees: float = 0.0) -> Record:
    """Return the upright box around an ellipse that is turned clockwise."""
    (x, y), (a, b) = center, radii
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    width, height = math.hypot(a * cos, b * sin), math.hypot(a * sin, b * cos)
    return box_of([(x - width, y - height), (x + width, y + height)])


def mask(pixels: np.ndarray[Any, Any], left: int, top: int, size: Sequence[int]) -> Record:
    """Return box, area and segmentation of a mask (H, W) whose upper left pixel is given.

    Args:
        size: width and height of the image.
    """
    whole_mask = np.zeros((size[1], size[0]), np.uint8, order="F")
    inside = whole_mask[top : top + pixels.shape[0], left : left + pixels.shape[1]]
    if top < 0 or left < 0 or inside.shape != pixels.shape:
        raise ValueError("a mask that leaves its image")
    inside[:] = pixels
    rle = coco_mask.encode(whole_mask)
    box, area = coco_mask.toBbox(rle).tolist(), float(coco_mask.area(rle))
    text = {"size": list(map(int, rle["size"])), "counts": rle["counts"].decode()}
    return {"bbox": box, "area": area, "segmentation": text}
