"""The fixed images of a search: every candidate sees the same ones in the same batches."""

import copy
import logging
from collections.abc import Collection
from random import Random

from detectron2.data import build_detection_test_loader

from .archval import read_images
from .loaders import build_fixed_mapper

__all__ = ["build_fixed_batches", "fixed_images"]

logger = logging.getLogger(__name__)

_GIB = 2**30
_JUDGED = 8  # batches from which the size of all batches is estimated


def fixed_images(
    cfg,
    dataset_names: tuple[str, ...],
    *,
    num_images: int | None = None,
    with_annotations: bool = False,
) -> list[dict]:
    """Return Detectron2's dicts of the images of :func:`build_fixed_batches`, in their order.

    With ``DATALOADER.ASPECT_RATIO_GROUPING``, wide images come before upright ones. archval is read
    without its twins, see :func:`~crnas_d2.data.archval.read_images`.

    Args: as there; images that training skips, because they have no annotations, are left out if
        annotations are needed.
    """
    skips = with_annotations and cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
    images = read_images(cfg, dataset_names, filter_empty=skips)
    if num_images is not None and num_images < len(images):
        images = Random(max(cfg.SEED, 0)).sample(images, num_images)
    if cfg.DATALOADER.ASPECT_RATIO_GROUPING:
        # As in training: a batch of both orientations is padded to a square, a quarter of which is
        # zeros that would enter the BN statistics.
        images = sorted(images, key=lambda image: image.get("width", 0) <= image.get("height", 0))
    return images


def build_fixed_batches(
    cfg,
    dataset_names: tuple[str, ...],
    *,
    num_images: int | None = None,
    with_annotations: bool = False,
    in_random_order: bool = False,
) -> Collection[list[dict]]:
    """Build batches of images at the size of inference, without augmentation, in a fixed order.

    All ranks of a process group get the same batches.

    Args:
        dataset_names: of the datasets to read.
        num_images: number of images to sample with ``cfg.SEED``; ``None`` for all.
        with_annotations: add the ``instances`` that Detectron2's models need in training, and skip
            the images that a training skips, those without objects.
        in_random_order: the same batches in an order drawn with ``cfg.SEED``, so that the first
            ones are a sample of all.

    Returns:
        decoded batches in memory; or, if they exceed ``SEARCH.IMAGE_CACHE``, a loader that decodes
        them again in each pass.
    """
    images = fixed_images(
        cfg, dataset_names, num_images=num_images, with_annotations=with_annotations
    )
    if not images:
        return []
    size = cfg.SEARCH.IMS_PER_BATCH
    if in_random_order:
        whole = len(images) // size * size  # a smaller batch stays the last one
        starts = Random(max(cfg.SEED, 0)).sample(range(0, whole, size), whole // size)
        shuffled = [image for start in starts for image in images[start : start + size]]
        images = shuffled + images[whole:]
    loader = build_detection_test_loader(
        images,
        mapper=build_fixed_mapper(cfg, dataset_names, with_annotations=with_annotations),
        batch_size=size,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        sampler=range(len(images)),  # Detectron2's would give each rank another share
    )
    batches, num_bytes = [], 0
    for batch in loader:
        # A tensor of a worker holds a file descriptor and shared memory as long as it lives.
        batches.append(copy.deepcopy(batch) if cfg.DATALOADER.NUM_WORKERS else batch)
        num_bytes += sum(image["image"].nbytes for image in batch)
        # Estimated from the first batches, so that the memory is not filled before giving up.
        expected = num_bytes * len(loader) / len(batches)
        if len(batches) >= min(_JUDGED, len(loader)) and expected > cfg.SEARCH.IMAGE_CACHE * _GIB:
            logger.warning(
                "%d images of %s exceed SEARCH.IMAGE_CACHE (%g GiB): each candidate decodes them "
                "again.",
                len(images),
                ", ".join(dataset_names),
                cfg.SEARCH.IMAGE_CACHE,
            )
            return loader
    return batches
