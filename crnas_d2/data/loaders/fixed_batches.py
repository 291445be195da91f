"""The fixed images of a search: every candidate sees the same ones in the same batches."""

import json
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from random import Random
from typing import Any

import detectron2
import PIL
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.data.build import trivial_batch_collator
from torch.utils.data import DataLoader

from crnas_d2.common.digests import file_state, text_digest
from crnas_d2.config.architectures import find_architecture
from crnas_d2.data.datasets.archval import read_images
from crnas_d2.data.datasets.registration import Entry
from crnas_d2.data.images.shared_images import Input, NoRoomError, shared_images

from .mappers import Mapper, build_fixed_mapper, generators_seeded

logger = logging.getLogger(__name__)

_GIB = 2**30


class FixedBatches(Sequence[list[Input]]):
    """Batches of inputs of a model, always the same ones.

    A slice is a :class:`FixedBatches`, too.

    Args:
        images: the inputs, e.g. in memory or decoded when they are asked for.
        batches: indices of the images of each batch.
        num_workers: processes that fetch images ahead of an iteration.
    """

    def __init__(
        self, images: Sequence[Input], batches: Sequence[Sequence[int]], num_workers: int = 0
    ):
        self._images, self._batches, self._num_workers = images, batches, num_workers

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return FixedBatches(self._images, self._batches[index], self._num_workers)
        return [self._images[number] for number in self._batches[index]]

    def __iter__(self) -> Iterator[list[Input]]:
        if self._num_workers:
            return iter(_loader(self._images, self._batches, self._num_workers))
        return (self[index] for index in range(len(self)))


def fixed_images(
    cfg: CfgNode,
    dataset_names: Sequence[str],
    *,
    num_images: int | None = None,
    with_annotations: bool = False,
) -> list[Entry]:
    """Return Detectron2's dicts of the images of :func:`build_fixed_batches`, in their order.

    With ``DATALOADER.ASPECT_RATIO_GROUPING``, the widest images come first and the most upright
    last: those of a batch need little padding, on which the AP depends. archval is read without its
    twins, see :func:`~crnas_d2.data.datasets.archval.read_images`.

    The arguments are as there. With ``with_annotations``, images that training skips, because they
    have none, are left out.
    """
    skips = with_annotations and cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
    images = read_images(cfg, dataset_names, filter_empty=skips)
    if num_images is not None and num_images < len(images):
        images = Random(max(cfg.SEED, 0)).sample(images, num_images)
    if cfg.DATALOADER.ASPECT_RATIO_GROUPING:
        # A batch of both orientations is padded to a square, a quarter of which is zeros that would
        # enter the BN statistics.
        images = sorted(images, key=_aspect, reverse=True)
    return images


def padding_differs(cfg: CfgNode, dataset_names: Sequence[str]) -> bool:
    """Whether images of registered datasets have more padding in a batch than by themselves."""
    images = (image for name in dataset_names for image in DatasetCatalog.get(name))
    classifies = find_architecture(cfg).classifies  # crops have one size
    return not classifies and len({_aspect(image) for image in images}) > 1


def _aspect(image: Entry) -> float:
    """Return width over height, on which the size of a resized image depends; 0 if unknown."""
    return image["width"] / image["height"] if {"width", "height"} <= image.keys() else 0.0


def build_fixed_batches(
    cfg: CfgNode,
    dataset_names: Sequence[str],
    *,
    num_images: int | None = None,
    batch_size: int | None = None,
    with_annotations: bool = False,
    in_random_order: bool = False,
) -> FixedBatches:
    """Build batches of images at the size of inference, without augmentation, in a fixed order.

    All ranks of a process group get the same batches. The decoded images are kept in a file that
    all processes of this machine share, see :func:`shared_images`. If they exceed
    ``SEARCH.IMAGE_CACHE`` or the space that is free, they are decoded again in each pass.

    Args:
        dataset_names: of the datasets to read.
        num_images: number of images to sample with ``cfg.SEED``; ``None`` for all.
        batch_size: images of a batch; ``None`` for ``SEARCH.IMS_PER_BATCH``.
        with_annotations: add the ``instances`` that Detectron2's models need in training, and skip
            the images that a training skips, those without objects.
        in_random_order: the same batches in an order drawn with ``cfg.SEED``, so that the first
            ones are a sample of all; a smaller batch stays the last one.
    """
    images = fixed_images(
        cfg, dataset_names, num_images=num_images, with_annotations=with_annotations
    )
    size, num_workers = batch_size or cfg.SEARCH.IMS_PER_BATCH, cfg.DATALOADER.NUM_WORKERS
    batches = [
        range(start, min(start + size, len(images))) for start in range(0, len(images), size)
    ]
    if in_random_order:
        whole = len(images) // size
        batches = Random(max(cfg.SEED, 0)).sample(batches[:whole], whole) + batches[whole:]
    if not images:
        return FixedBatches([], batches)
    mapper = build_fixed_mapper(cfg, dataset_names, with_annotations=with_annotations)
    decoded = _DecodedImages(images, mapper)

    def inputs_from(first: int) -> Iterable[Input]:
        for batch in _loader(decoded, [[n] for n in range(first, len(images))], num_workers):
            yield from batch

    try:
        shared = shared_images(
            _digest(cfg, images, dataset_names, with_annotations),
            len(images),
            inputs_from,
            limit=cfg.SEARCH.IMAGE_CACHE * _GIB,
        )
    except NoRoomError as error:
        logger.warning(
            "The %d decoded images of %s are not kept, so each candidate decodes them again: %s. "
            "Raise SEARCH.IMAGE_CACHE, or set TMPDIR to a folder with space.",
            *(len(images), ", ".join(dataset_names), error),
        )
        return FixedBatches(decoded, batches, num_workers)
    return FixedBatches(shared, batches)


class _DecodedImages(Sequence[Input]):
    """Images that are decoded whenever they are asked for."""

    def __init__(self, images: Sequence[Entry], mapper: Mapper):
        self._images, self._mapper = images, mapper

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: Any) -> Any:
        # Detectron2 draws a number even for a choice of one. What follows must not depend on
        # whether another process has decoded the images.
        with generators_seeded(str(index)):
            return self._mapper(self._images[index])


def _loader(images: Any, batches: Any, num_workers: int) -> DataLoader[Input]:
    return DataLoader(
        images,
        batch_sampler=batches,
        num_workers=num_workers,
        collate_fn=trivial_batch_collator,
        # torch samples a seed for the workers; that of the training must not change.
        generator=torch.Generator(),
    )


def _digest(
    cfg: CfgNode, images: list[Entry], dataset_names: Sequence[str], with_annotations: bool
) -> str:
    """Identify the inputs that a mapper makes of images: by files, settings and versions."""
    used = [
        {k: v for k, v in image.items() if with_annotations or k != "annotations"}
        for image in images
    ]
    files = [os.path.abspath(image["file_name"]) for image in images]
    model = {key: cfg.MODEL[key] for key in ("MASK_ON", "KEYPOINT_ON", "LOAD_PROPOSALS")}
    content = [
        # Of a file that is not there the decoder says what is wrong.
        *(used, [(file, file_state(file)) for file in files if os.path.exists(file)]),
        *(list(dataset_names), with_annotations, cfg.PLUGINS, cfg.INPUT.dump(), model),
        [detectron2.__version__, PIL.__version__, torch.__version__],
    ]
    return text_digest(json.dumps(content, default=repr), 32)
