"""Detections drawn into an image, by Detectron2's Visualizer."""

from collections.abc import Sequence
from colorsys import hsv_to_rgb

import numpy as np
from detectron2.data.catalog import Metadata
from detectron2.data.detection_utils import convert_image_to_rgb
from detectron2.structures import Instances

_LEAST = 640  # pixels of the longer side, so that labels can be read
_GOLDEN = 0.618034  # of the circle of hues, so that classes with near numbers differ most


def draw_detections(
    image: np.ndarray, image_format: str, instances: Instances, names: Sequence[str]
) -> np.ndarray:
    """Draw boxes, masks and key points with the names and scores of their classes.

    Args:
        image: (H, W, C) in ``image_format``; a grey one stays grey.
        image_format: ``INPUT.FORMAT``.
        instances: of a detector, on the CPU.
        names: of the classes.

    Returns:
        RGB, (H', W', 3), enlarged to a longer side of at least 640 pixels.
    """
    # Needs OpenCV, which only those who draw have to install.
    from detectron2.utils.visualizer import GenericMask, Visualizer

    height, width = image.shape[:2]
    scale = max(1.0, _LEAST / max(height, width))
    rgb = convert_image_to_rgb(image, image_format)
    drawn = Visualizer(rgb, Metadata(thing_classes=list(names)), scale=scale)
    boxes, classes = instances.pred_boxes.tensor.numpy(), instances.pred_classes.tolist()
    # One colour per class, in all images.
    colours = [hsv_to_rgb(index * _GOLDEN % 1, 0.85, 1.0) for index in classes]
    masks = None
    if instances.has("pred_masks"):
        masks = [GenericMask(mask, height, width) for mask in instances.pred_masks.numpy()]
    points = instances.pred_keypoints if instances.has("pred_keypoints") else None
    drawn.overlay_instances(
        boxes=boxes, masks=masks, keypoints=points, assigned_colors=colours, alpha=0.4
    )
    # Visualizer's own labels are too small to read in small images.
    size = min(20, max(12, scale * max(height, width) / 50)) / scale  # times scale in the output
    for box, index, score, colour in zip(
        boxes, classes, instances.scores.tolist(), colours, strict=True
    ):
        left, top = np.clip(box[:2], 0, (width - 1, height - 1))
        above = top - 1.8 * size
        place = (left, above if above >= 0 else top)
        text = f"{names[index]} {100 * score:.0f}%"
        drawn.draw_text(text, place, font_size=size, color=colour, horizontal_alignment="left")
    return drawn.output.get_image()
