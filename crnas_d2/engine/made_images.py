"""Images without content, of the sizes of a config: to time steps where no dataset is at hand."""

import math
from collections.abc import Sequence

from crnas_d2.config.architectures import find_architecture
from crnas_d2.data.noise_images import noise_batch

_OBJECTS = 7  # of an image, as in COCO on average
_MULTIPLE = 32  # to which detectors with FPN pad their images
_ASPECT = 4 / 3  # of most photographs


def usual_size(cfg, *, in_training: bool) -> tuple[int, int]:
    """Return (height, width) of most images as a network sees them, in pixels.

    That of a photograph of 4:3 which is resized as the config says, padded to multiples of 32:
    800x1088 for a shorter side of 800.
    """
    shorter, longer, crop = _sides(cfg, in_training)
    if crop:
        return crop, crop
    return _padded(min(shorter, longer / _ASPECT)), _padded(min(shorter * _ASPECT, longer))


def widest_size(cfg, *, in_training: bool) -> tuple[int, int]:
    """Return (height, width) of the largest image, padded: what the memory has to hold."""
    shorter, longer, crop = _sides(cfg, in_training)
    return (crop, crop) if crop else (_padded(shorter), _padded(longer))


def made_batch(cfg, images: int) -> list[dict]:
    """Return a batch of training images of the usual size, with random boxes, masks or a label."""
    return noise_batch(cfg, images, usual_size(cfg, in_training=True), _OBJECTS)


def _sides(cfg, in_training: bool) -> tuple[int, int, int]:
    """Return the shorter and the longer side of an image, and the crop of a classifier or 0."""
    if find_architecture(cfg).classifies:
        return 0, 0, cfg.INPUT.CLASSIFICATION.CROP_SIZE
    part = "TRAIN" if in_training else "TEST"
    shorter = cfg.INPUT[f"MIN_SIZE_{part}"]
    shorter = max(shorter) if isinstance(shorter, Sequence) else shorter
    return shorter, cfg.INPUT[f"MAX_SIZE_{part}"] or 2 * shorter, 0


def _padded(side: float) -> int:
    return math.ceil(side / _MULTIPLE) * _MULTIPLE
