"""The augmentation of images that are classified."""

from collections.abc import Callable

import torch
from detectron2.config import CfgNode

from crnas_d2.common.errors import invalid

_FLIPS = ("horizontal", "none")


def build_transform(cfg: CfgNode, *, is_train: bool) -> Callable[[torch.Tensor], torch.Tensor]:
    """Build the usual augmentation of ImageNet for a uint8 image (C, H, W).

    Training uses a random crop, resized to CROP_SIZE, and a horizontal flip (Szegedy et al. 2015,
    section 6); otherwise it is the centre of the resized image.
    """
    # Imported here, because detection never uses it.
    from torchvision.transforms import v2

    keys, flip = cfg.INPUT.CLASSIFICATION, cfg.INPUT.RANDOM_FLIP
    if flip not in _FLIPS:
        raise invalid("INPUT.RANDOM_FLIP", flip, f"one of {_FLIPS} for classification")
    if keys.RESIZE_TEST < keys.CROP_SIZE:
        expected = f"at least CROP_SIZE ({keys.CROP_SIZE}), the crop from the resized image"
        raise invalid("INPUT.CLASSIFICATION.RESIZE_TEST", keys.RESIZE_TEST, expected)
    if not is_train:
        resize = v2.Resize(keys.RESIZE_TEST, antialias=True)
        return v2.Compose([resize, v2.CenterCrop(keys.CROP_SIZE)])
    crop = v2.RandomResizedCrop(keys.CROP_SIZE, scale=tuple(keys.CROP_AREA), antialias=True)
    return v2.Compose([crop, v2.RandomHorizontalFlip()] if flip == "horizontal" else [crop])
