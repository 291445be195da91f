"""Boxes of all images of a batch in one tensor."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from detectron2.layers import batched_nms
from detectron2.structures import Boxes, Instances
from torch import Tensor

Sizes = Sequence[tuple[int, int]]  # (height, width) of each image, pixels


@dataclass(frozen=True)
class Detections:
    """Detections of all images, image after image.

    Attributes:
        boxes: (R, 4), corners in pixels.
        scores: (R,), those of an image fall.
        classes: (R,).
        counts: detections of each image.
    """

    boxes: Tensor
    scores: Tensor
    classes: Tensor
    counts: list[int]

    def split(self, sizes: Sizes) -> list[Instances]:
        """Return the detections of each image, for images of these sizes."""
        parts = (part.split(self.counts) for part in (self.boxes, self.scores, self.classes))
        return [
            Instances(size, pred_boxes=Boxes(boxes), scores=scores, pred_classes=classes)
            for size, boxes, scores, classes in zip(sizes, *parts, strict=True)
        ]

    def resized(self, sizes: Sizes, wanted: Sizes) -> "Detections":
        """Return the detections for images of other sizes, without boxes that become empty."""
        device = self.boxes.device
        factors = [
            (width / own_width, height / own_height)
            for (own_height, own_width), (height, width) in zip(sizes, wanted, strict=True)
        ]
        counts = torch.tensor(self.counts, device=device)
        scale = torch.tensor(factors, dtype=torch.float32, device=device)
        scale = scale.repeat(1, 2).repeat_interleave(counts, dim=0)
        boxes = clip(self.boxes * scale, wanted, counts)
        keep = nonempty(boxes)
        if bool(keep.all()):
            return Detections(boxes, self.scores, self.classes, self.counts)
        counted = [int(part.sum()) for part in keep.split(self.counts)]
        return Detections(boxes[keep], self.scores[keep], self.classes[keep], counted)


def clip(boxes: Tensor, sizes: Sizes, counts: Tensor) -> Tensor:
    """Return (R, 4) boxes within their images, which have ``counts`` of them each."""
    limits = torch.tensor(
        [(width, height) for height, width in sizes], dtype=boxes.dtype, device=boxes.device
    )
    limits = limits.repeat(1, 2).repeat_interleave(counts, dim=0)
    return torch.minimum(boxes.clamp(min=0), limits)


def nonempty(boxes: Tensor, least: float = 0.0) -> Tensor:
    """Return which boxes are wider and higher than ``least``; (..., 4) to (...)."""
    sides = boxes[..., 2:] - boxes[..., :2]
    return (sides > least).all(dim=-1)


def suppress(
    boxes: Tensor, scores: Tensor, groups: Tensor, counts: list[int], threshold: float, most: int
) -> tuple[Tensor, list[int]]:
    """Suppress overlapping boxes of one image and one group (NMS).

    Args:
        boxes: (R, 4), image after image.
        scores: (R,).
        groups: (R,), the level or the class.
        counts: boxes of each image.
        threshold: IoU above which the box with the lower score goes.
        most: boxes that an image keeps; below 0: all.

    Returns:
        The indices of those that are kept, image after image, the best first, and their counts.
    """
    kept, start = [], 0
    for boxes_, scores_, groups_ in zip(
        boxes.split(counts), scores.split(counts), groups.split(counts), strict=True
    ):
        indices = batched_nms(boxes_, scores_, groups_, threshold)
        kept.append((indices[:most] if most >= 0 else indices) + start)
        start += len(boxes_)
    return torch.cat(kept), [len(indices) for indices in kept]
