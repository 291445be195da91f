"""Mappers and Detectron2's loaders, for detection and for classification data."""

from collections.abc import Callable, Iterable, Sequence

from detectron2.data import build_detection_test_loader
from detectron2.data.detection_utils import build_augmentation
from detectron2.data.samplers import InferenceSampler
from detectron2.utils import comm

from .archval import archval_twins, read_images
from .classification import ClassificationMapper, build_transform, is_classification
from .image_errors import NamingMapper
from .kept_images import KeepingMapper, is_random


def build_train_mapper(cfg, dataset_names: Sequence[str]) -> Callable[[dict], dict]:
    """Build a mapper from an entry of a dataset to an input as in training, with augmentation."""
    if is_classification(dataset_names[0]):
        return _classification_mapper(cfg, is_train=True)
    mapper = NamingMapper(cfg, is_train=True)
    # No cache with workers, because each of them would keep the same images.
    if is_random(cfg) or cfg.DATALOADER.NUM_WORKERS > 0:
        return mapper
    return KeepingMapper(mapper, limit=int(cfg.DATALOADER.IMAGE_CACHE * 2**30))


def build_test_loader(cfg, dataset_name: str) -> Iterable[list[dict]]:
    """Build a loader of this rank's share of a dataset, each image once.

    Detectors get one image at a time, as in Detectron2; a classifier gets as many as in training.
    archval, on which a search trains its finalists, is read without its twins.
    """
    images = {}
    if dataset_name in cfg.DATASETS.ARCHVAL and archval_twins(cfg):
        kept = read_images(cfg, [dataset_name], filter_empty=False)
        images = {"dataset": kept, "sampler": InferenceSampler(len(kept))}
    if not is_classification(dataset_name):
        mapper = NamingMapper(cfg, is_train=False)
        return build_detection_test_loader(cfg, dataset_name, mapper=mapper, **images)
    return build_detection_test_loader(
        cfg,
        dataset_name,
        mapper=_classification_mapper(cfg, is_train=False),
        batch_size=max(1, cfg.SOLVER.IMS_PER_BATCH // comm.get_world_size()),
        **images,
    )


def build_fixed_mapper(
    cfg, dataset_names: Sequence[str], *, with_annotations: bool
) -> Callable[[dict], dict]:
    """Build a mapper to inputs at the size of inference, without augmentation.

    Args:
        with_annotations: add the ``instances`` that Detectron2's models need in training; images
            of a classification dataset always have their ``label``.
    """
    if is_classification(dataset_names[0]):
        return _classification_mapper(cfg, is_train=False)
    return NamingMapper(
        cfg, is_train=with_annotations, augmentations=build_augmentation(cfg, is_train=False)
    )


def _classification_mapper(cfg, *, is_train: bool) -> ClassificationMapper:
    return ClassificationMapper(
        image_format=cfg.INPUT.FORMAT, transform=build_transform(cfg, is_train=is_train)
    )
