"""Detections of networks beside the objects of an image."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.structures import BoxMode
from PIL import Image, ImageDraw, ImageFont

_LEAST, _MOST = 560, 1_000  # pixels of the longer side of a picture
# By how well they can be told apart, also by those who see fewer colours (Okabe and Ito).
_COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")


def draw_boxes(
    dataset: str,
    image: Mapping[str, Any],
    picture: Image.Image,
    detections: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    least_score: float = 0.5,
) -> dict[str, Image.Image]:
    """Draw the objects of one image, and what each network detects; return pictures by caption.

    Args:
        image: Detectron2's dict of an image of the dataset.
        picture: of the image, upright.
        detections: by network, in COCO's format; those of other images are left out.
    """
    metadata = MetadataCatalog.get(dataset)
    names, to_index = metadata.thing_classes, metadata.thing_dataset_id_to_contiguous_id
    picture, factor = fit(picture)
    objects = [
        (
            BoxMode.convert(each["bbox"], each["bbox_mode"], BoxMode.XYWH_ABS),
            each["category_id"],
            f"{names[each['category_id']]}{' (crowd)' if each.get('iscrowd') else ''}",
        )
        for each in image.get("annotations", ())
    ]
    pictures = {"objects": draw(picture, objects, factor)}
    for network, found in detections.items():
        boxes = [
            (f["bbox"], label := to_index[f["category_id"]], f"{names[label]} {f['score']:.2f}")
            for f in found
            if f["image_id"] == image["image_id"] and f["score"] >= least_score
        ]
        pictures[network] = draw(picture, boxes, factor)
    return pictures


def fit(picture: Image.Image, least: int = _LEAST, most: int = _MOST) -> tuple[Image.Image, float]:
    """Resize a picture so that its longer side is in a range, in pixels; return the factor, too."""
    factor = float(np.clip(1, least / max(picture.size), most / max(picture.size)))
    width, height = (max(1, round(factor * side)) for side in picture.size)
    # Pixels of a small image stay visible; a large one is averaged.
    method = Image.Resampling.NEAREST if factor > 1 else Image.Resampling.LANCZOS
    return picture.resize((width, height), method), factor


def draw(
    picture: Image.Image, boxes: Sequence[tuple[Sequence[float], int, str]], factor: float
) -> Image.Image:
    """Return a picture with boxes (x, y, width, height), each with its colour and its label.

    Args:
        factor: by which the picture was resized, unlike the boxes.
    """
    picture = picture.copy()
    canvas, font = ImageDraw.Draw(picture), ImageFont.load_default(size=20)
    for (left, top, width, height), label, _ in boxes:
        corners = [factor * each for each in (left, top, left + width, top + height)]
        corners[2:] = max(corners[0], corners[2]), max(corners[1], corners[3])
        canvas.rectangle(corners, outline=_COLOURS[label % len(_COLOURS)], width=3)
    taken: list[tuple[float, float, float, float]] = []
    for (left, top, _, _), label, text in boxes:  # last, so that no box crosses them
        if not text:
            continue
        box = canvas.textbbox((0, 0), text, font=font)
        width, height = box[2] + 4, box[3] + 4
        # Above the box, but inside the picture, and below a label that is there already.
        x = min(max(factor * left, 0), max(picture.width - width, 0))
        y = max(factor * top - height, 0)
        while any(
            x < right and left < x + width and y < bottom and top < y + height
            for left, top, right, bottom in taken
        ):
            y += height + 1
        taken.append((x, y, x + width, y + height))
        canvas.rectangle(taken[-1], fill=_COLOURS[label % len(_COLOURS)])
        canvas.text((x + 2, y + 1), text, fill="black", font=font)
    return picture
