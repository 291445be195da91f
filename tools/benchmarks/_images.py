"""Images of noise with boxes, as a detector is trained on."""


def noise_batch(count: int, size: tuple[int, int], num_classes: int) -> list[dict]:
    """Make a batch of noise with six boxes per image, in the format of Detectron2's mapper.

    Args:
        size: (height, width) in pixels.
    """
    import torch
    from detectron2.structures import Boxes, Instances

    generator = torch.Generator().manual_seed(0)
    height, width = size
    batch = []
    for _ in range(count):
        image = torch.randint(256, (3, height, width), generator=generator, dtype=torch.uint8)
        corner, extent = torch.rand((2, 6, 2), generator=generator)
        boxes = torch.cat([0.7 * corner, 0.7 * corner + 0.1 + 0.2 * extent], dim=1)
        scale = torch.tensor([width, height, width, height])
        instances = Instances((height, width), gt_boxes=Boxes(scale * boxes))
        instances.gt_classes = torch.arange(6) % num_classes
        batch.append({"image": image, "height": height, "width": width, "instances": instances})
    return batch
