"""Images of noise with objects, as a network is trained on: to time steps, or to size a batch."""

import torch
from detectron2.structures import BitMasks, Boxes, Instances, PolygonMasks

from crnas_d2.config.architectures import find_architecture


def noise_batch(cfg, number: int, size: tuple[int, int], objects: int) -> list[dict]:
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
            entry["label"] = 0
        else:
            entry["instances"] = _objects(cfg, size, objects, generator)
        batch.append(entry)
    return batch


def _objects(cfg, size: tuple[int, int], number: int, generator: torch.Generator) -> Instances:
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
