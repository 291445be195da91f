"""Mappers from an entry of a dataset to an input of a model, for detection and classification."""

import copy
import logging
import pickle
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import DatasetMapper
from detectron2.data.detection_utils import (
    build_augmentation,
    check_image_size,
    read_image,
    transform_proposals,
)
from detectron2.data.transforms import (
    AugInput,
    ResizeShortestEdge,
    TransformList,
)

from crnas_d2.data.datasets.registration import Entry, is_classification
from crnas_d2.data.images.image_cache import ImageCache, Key
from crnas_d2.data.images.pixels import Pixels, naming, read_pixels
from crnas_d2.data.images.shared_images import Input
from crnas_d2.data.images.transforms import build_transform

logger = logging.getLogger(__name__)

_GIB = 2**30

Mapper = Callable[[Entry], Input]


class NamingMapper(DatasetMapper):
    """Detectron2's mapper of detection data with our reader; its errors name the image.

    Args:
        depth_range: see :func:`~crnas_d2.data.images.pixels.read_pixels`.
        cache: of decoded images: resized ones if the augmentation begins with a resizing to one of
            a few sizes, else whole ones.
        settings: of Detectron2's mapper.
    """

    @configurable
    def __init__(
        self,
        is_train: bool,
        *,
        depth_range: Sequence[float] = (),
        cache: ImageCache | None = None,
        **settings: Any,
    ):
        super().__init__(is_train, **settings)
        self.depth_range, self.cache = depth_range, cache

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        return {**super().from_config(cfg, is_train), "depth_range": cfg.INPUT.DEPTH_RANGE}

    def __call__(self, dataset_dict: Entry) -> Input:
        with naming(dataset_dict["file_name"]):
            return self._map(copy.deepcopy(dataset_dict))

    def _map(self, entry: Input) -> Input:
        """Do what Detectron2's mapper does."""
        segments = None
        if "sem_seg_file_name" in entry:
            segments = read_image(entry.pop("sem_seg_file_name"), "L").squeeze(2)
        image, transforms = self._augment(entry, segments)
        size = image.image.shape[:2]
        # A copy, even of what is contiguous: it may be memory of the cache.
        entry["image"] = torch.as_tensor(np.array(image.image.transpose(2, 0, 1), order="C"))
        if image.sem_seg is not None:
            entry["sem_seg"] = torch.as_tensor(image.sem_seg.astype("long"))
        if self.proposal_topk is not None:
            transform_proposals(entry, size, transforms, proposal_topk=self.proposal_topk)
        if not self.is_train:
            entry.pop("annotations", None)
        elif "annotations" in entry:
            self._transform_annotations(entry, transforms, size)
        return entry

    def _augment(self, entry: Input, segments: Pixels | None) -> tuple[AugInput, TransformList]:
        """Return image and segments after the augmentation, and its transforms."""

        def decode() -> Pixels:
            pixels = read_pixels(file, self.image_format, self.depth_range)
            check_image_size(entry, pixels)
            return pixels

        file, (first, *rest) = entry["file_name"], self.augmentations.augs
        if self.cache is None or "width" not in entry or "height" not in entry:
            image = AugInput(decode(), sem_seg=segments)
            return image, self.augmentations(image)
        height, width = entry["height"], entry["width"]
        if not isinstance(first, ResizeShortestEdge) or first.is_range:
            pixels = self.cache.get((file, height, width), decode)
            image = AugInput(pixels, sem_seg=segments)
            return image, self.augmentations(image)
        # Drawn as for the image itself, of which only the shape is needed.
        resize = first.get_transform(np.broadcast_to(np.uint8(0), (height, width)))
        key = (file, resize.new_h, resize.new_w)
        pixels = self.cache.get(key, lambda: resize.apply_image(decode()))
        if segments is not None:
            segments = resize.apply_segmentation(segments)
        image = AugInput(pixels, sem_seg=segments)
        return image, TransformList([resize, *(augment(image) for augment in rest)])


class KeepingMapper:
    """Keeps what a mapper returns, which must depend only on the entry.

    Args:
        mapper: maps an entry of a dataset to an input of the model with an ``image``.
        limit: of all that is kept, in bytes; other entries are mapped again each time.
    """

    def __init__(self, mapper: Mapper, *, limit: int):
        self.mapper = mapper
        self.limit = limit
        self._size = 0
        self._kept: dict[tuple[str, object], Input] = {}

    def __call__(self, dataset_dict: Entry) -> Input:
        # Two datasets may list one file with different annotations.
        key = (dataset_dict["file_name"], dataset_dict.get("image_id"))
        mapped = self._kept.get(key)
        if mapped is None:
            # Detectron2 draws a number even for a choice of one. A resumed training maps the images
            # again, and must not draw more than an uninterrupted one.
            with generators_seeded(f"{key}"):
                mapped = self.mapper(dataset_dict)
            size = len(pickle.dumps(mapped))  # with masks, which may be larger than the image
            if self._size + size <= self.limit:
                self._size += size
                self._kept[key] = mapped
        # A shallow copy is enough: models replace entries, but do not change the tensors.
        return dict(mapped)


class ClassificationMapper:
    """Adds ``image``, uint8 (C, H, W), to an entry of an image folder.

    Args:
        image_format: order of the channels, e.g. ``BGR``, as for Detectron2's detectors.
        transform: applied to the uint8 image (C, H, W).
        depth_range: see :func:`~crnas_d2.data.images.pixels.read_pixels`.
    """

    def __init__(
        self,
        *,
        image_format: str,
        transform: Callable[[torch.Tensor], torch.Tensor],
        depth_range: Sequence[float] = (),
    ):
        self.image_format = image_format
        self.transform = transform
        self.depth_range = depth_range

    def __call__(self, dataset_dict: Entry) -> Input:
        pixels = read_pixels(dataset_dict["file_name"], self.image_format, self.depth_range)
        # (H, W, C) to (C, H, W)
        image = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        return {**dataset_dict, "image": self.transform(image)}

    @classmethod
    def from_config(cls, cfg: CfgNode, *, is_train: bool) -> "ClassificationMapper":
        return cls(
            image_format=cfg.INPUT.FORMAT,
            transform=build_transform(cfg, is_train=is_train),
            depth_range=cfg.INPUT.DEPTH_RANGE,
        )


def build_train_mapper(
    cfg: CfgNode, dataset_names: Sequence[str], images: Sequence[Entry] = ()
) -> Mapper:
    """Build the mapper of a training, with augmentation.

    Args:
        images: entries to decode once, as many as ``DATALOADER.IMAGE_CACHE`` holds.
    """
    if is_classification(dataset_names[0]):
        return ClassificationMapper.from_config(cfg, is_train=True)
    mapper, inputs, limit = NamingMapper(cfg, is_train=True), cfg.INPUT, cfg.DATALOADER.IMAGE_CACHE
    is_random = (
        inputs.RANDOM_FLIP != "none" or inputs.CROP.ENABLED or len(set(inputs.MIN_SIZE_TRAIN)) > 1
    )
    # Each worker would keep the same images.
    if not is_random and cfg.DATALOADER.NUM_WORKERS == 0:
        return KeepingMapper(mapper, limit=int(limit * _GIB))
    if images and inputs.FORMAT != "YUV-BT.601":  # of floats
        channels = 1 if inputs.FORMAT == "L" else 3
        mapper.cache = ImageCache(
            _cached_sizes(inputs, images), channels=channels, limit=limit * _GIB
        )
        if not mapper.cache.is_complete:
            text = "DATALOADER.IMAGE_CACHE of %.3g GiB holds %d decoded images, not all."
            logger.info(text, limit, len(mapper.cache))
    return mapper


def _cached_sizes(inputs: CfgNode, images: Sequence[Entry]) -> Iterator[Key]:
    """Yield file, height and width of the pixels that a mapper of ``INPUT`` asks its cache for."""
    keeps_whole = inputs.CROP.ENABLED or inputs.MIN_SIZE_TRAIN_SAMPLING == "range"
    for image in images:
        if "width" not in image or "height" not in image:
            continue
        size = image["height"], image["width"]
        if keeps_whole:
            yield image["file_name"], *size
            continue
        for shorter in inputs.MIN_SIZE_TRAIN:
            new = ResizeShortestEdge.get_output_shape(*size, shorter, inputs.MAX_SIZE_TRAIN)
            yield image["file_name"], *new


def build_fixed_mapper(
    cfg: CfgNode, dataset_names: Sequence[str], *, with_annotations: bool
) -> Mapper:
    """Build a mapper to inputs at the size of inference, without augmentation.

    Args:
        with_annotations: add the ``instances`` that Detectron2's models need in training; images
            of a classification dataset always have their ``label``.
    """
    if is_classification(dataset_names[0]):
        return ClassificationMapper.from_config(cfg, is_train=False)
    return NamingMapper(
        cfg, is_train=with_annotations, augmentations=build_augmentation(cfg, is_train=False)
    )


@contextmanager
def generators_seeded(key: str) -> Iterator[None]:
    """Seed the global generators, which augmentations use, and restore them on exit."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    seed = Random(key).getrandbits(32)
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
