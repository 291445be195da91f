"""Random images with objects: to time steps, and to find the memory of the largest batch."""

import math
from collections.abc import Collection, Iterable
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data.transforms import ResizeShortestEdge
from detectron2.structures import BitMasks, Boxes, Instances, PolygonMasks

from crnas_d2.config.architectures import find_architecture

Size = tuple[int, int]  # (height, width), pixels


def random_images(cfg: CfgNode, number: int, size: Size, objects: int) -> list[dict[str, Any]]:
    """Return inputs of the model of a config in training, always the same ones.

    Args:
        number: of images.
        size: (height, width), pixels.
        objects: number of boxes, with masks if the config has them, of each image of a detector.
    """
    generator = torch.Generator().manual_seed(0)
    channels = len(cfg.MODEL.PIXEL_MEAN)
    batch = []
    for _ in range(number):
        image = torch.randint(256, (channels, *size), generator=generator, dtype=torch.uint8)
        entry = {"image": image, "height": size[0], "width": size[1]}
        if find_architecture(cfg).classifies:
            batch.append({**entry, "label": 0})
        else:
            batch.append({**entry, "instances": _random_objects(cfg, size, objects, generator)})
    return batch


def _random_objects(cfg: CfgNode, size: Size, number: int, generator: torch.Generator) -> Instances:
    sides = torch.tensor([size[1], size[0]])
    corner, extent = torch.rand((2, number, 2), generator=generator)
    boxes = torch.cat([0.7 * corner, 0.7 * corner + 0.05 + 0.25 * extent], dim=1) * sides.repeat(2)
    objects = Instances(size, gt_boxes=Boxes(boxes))
    objects.gt_classes = torch.zeros(number, dtype=torch.int64)
    if cfg.MODEL.MASK_ON and cfg.INPUT.MASK_FORMAT == "bitmask":
        objects.gt_masks = BitMasks(torch.ones(number, *size, dtype=torch.bool))
    elif cfg.MODEL.MASK_ON:
        outlines = [[[x, y, right, y, right, low, x, low]] for x, y, right, low in boxes.tolist()]
        objects.gt_masks = PolygonMasks(outlines)
    return objects


def largest_batch(
    cfg: CfgNode, images: Iterable[dict[str, Any]] = (), *, number: int, grouped: bool = True
) -> list[dict[str, Any]]:
    """Return random inputs of a model in training, of the largest size and with many objects.

    There are as many objects per image as in the image with the most of them, and at least as many
    as the mask head takes, which a detector that has learnt something also finds for it.

    Args:
        images: Detectron2's dicts of the training; none if they are not known.
        number: of images.
        grouped: whether all images of a batch have the same orientation.
    """
    shapes, heads = set(), cfg.MODEL.ROI_HEADS
    objects = max(1, math.ceil(heads.BATCH_SIZE_PER_IMAGE * heads.POSITIVE_FRACTION))
    for image in images:  # one by one: all of a large dataset would take gigabytes
        shapes.add((image.get("height"), image.get("width")))
        objects = max(objects, len(image.get("annotations", ())))
    size = largest_size(cfg, shapes, is_mixed=number > 1 and not grouped)
    return random_images(cfg, number, size, objects)


def largest_size(
    cfg: CfgNode,
    shapes: Collection[tuple[Any, Any]] = (),
    *,
    is_mixed: bool = False,
) -> Size:
    """Return the size to which the largest batch of a training is padded.

    Args:
        shapes: (height, width) of the images. If one is ``None``, if there are none, or if
            ``INPUT.CROP`` changes them, any shape is assumed possible.
        is_mixed: whether a batch may hold both orientations.
    """
    if find_architecture(cfg).classifies:
        return (cfg.INPUT.CLASSIFICATION.CROP_SIZE,) * 2
    short, long = max(cfg.INPUT.MIN_SIZE_TRAIN), cfg.INPUT.MAX_SIZE_TRAIN
    sides = (min(short, long), long)
    resized = {(True, sides), (False, sides[::-1])}  # whether it is wide, and its size
    if shapes and not cfg.INPUT.CROP.ENABLED and all(all(shape) for shape in shapes):
        resized = {
            (shape[1] > shape[0], ResizeShortestEdge.get_output_shape(*shape, short, long))
            for shape in shapes
        }
    groups: dict[bool, list[Size]] = {}
    for is_wide, size in sorted(resized, reverse=True):  # of equal ones the wide group counts
        groups.setdefault(is_wide and not is_mixed, []).append(size)
    padded = [(max(h for h, _ in sizes), max(w for _, w in sizes)) for sizes in groups.values()]
    return max(padded, key=math.prod)
