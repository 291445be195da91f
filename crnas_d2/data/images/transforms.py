"""The augmentation of images that are classified."""

from collections.abc import Callable

import torch

_FLIPS = ("horizontal", "none")


def build_transform(cfg, *, is_train: bool) -> Callable[[torch.Tensor], torch.Tensor]:
    """Build the usual augmentation of ImageNet for a uint8 image (C, H, W).

    Training uses a random crop, resized to CROP_SIZE, and a horizontal flip (Szegedy et al. 2015,
    section 6); otherwise it is the centre of the resized image.
    """
    # Imported here, because detection never uses it.
    from torchvision.transforms import v2

    keys, flip = cfg.INPUT.CLASSIFICATION, cfg.INPUT.RANDOM_FLIP
    if flip not in _FLIPS:
        raise ValueError(
            f"INPUT.RANDOM_FLIP is '{flip}'; expected one of {_FLIPS} for classification."
        )
    if keys.RESIZE_TEST < keys.CROP_SIZE:
        raise ValueError(
            f"INPUT.CLASSIFICATION.RESIZE_TEST is {keys.RESIZE_TEST}; expected at least CROP_SIZE "
            f"({keys.CROP_SIZE}), the size of the crop from the resized image."
        )
    if not is_train:
        return v2.Compose(
            [v2.Resize(keys.RESIZE_TEST, antialias=True), v2.CenterCrop(keys.CROP_SIZE)]
        )
    crop = v2.RandomResizedCrop(keys.CROP_SIZE, scale=tuple(keys.CROP_AREA), antialias=True)
    return v2.Compose([crop, v2.RandomHorizontalFlip()] if flip == "horizontal" else [crop])
