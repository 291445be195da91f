"""Loaders of a config's datasets."""

from collections.abc import Iterable, Sequence
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import (
    DatasetFromList,
    build_detection_test_loader,
    build_detection_train_loader,
)
from detectron2.data.build import _train_loader_from_config
from detectron2.data.samplers import InferenceSampler
from detectron2.utils import comm

from crnas_d2.data.datasets.archval import archval_twins, no_objects_explained, read_images
from crnas_d2.data.datasets.proposals import check_proposals
from crnas_d2.data.datasets.registration import is_classification
from crnas_d2.data.images.shared_images import Input

from .mappers import ClassificationMapper, NamingMapper, build_train_mapper
from .resumable import ResumableLoader, TrainingLoader

Loader = Iterable[list[Input]]


def build_train_loader(cfg: CfgNode) -> Loader:
    """Build an endless loader of ``DATASETS.TRAIN``: batches of this rank's share of the images.

    It can be resumed, with the batches that Detectron2's loader would have; only a dataset without
    a length gets Detectron2's own.
    """
    check_proposals(cfg, "TRAIN")
    unused = object()  # the loader makes its own mapper and sampler
    with no_objects_explained(cfg.DATASETS.TRAIN):
        dataset = _train_loader_from_config(cfg, mapper=unused, sampler=unused)["dataset"]
    images = dataset if isinstance(dataset, list) else []
    mapper = build_train_mapper(cfg, cfg.DATASETS.TRAIN, images)
    if not isinstance(dataset, list):
        loader: Loader = build_detection_train_loader(cfg, mapper=mapper, dataset=dataset)
        return loader
    # All crops of a classifier have the same size, so there are no aspect ratios to group.
    is_grouped = (
        cfg.DATALOADER.ASPECT_RATIO_GROUPING
        and not is_classification(cfg.DATASETS.TRAIN[0])
        and all("width" in image and "height" in image for image in dataset)
    )
    return TrainingLoader(cfg, mapper, dataset, is_grouped=is_grouped)


def build_resumable_loader(cfg: CfgNode, names: Sequence[str], seed: int) -> ResumableLoader:
    """Build the loader of registered datasets, with batches and augmentation as in training."""
    images = read_images(cfg, names, filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS)
    return ResumableLoader(
        # Serialized, so that workers share the memory of a large dataset instead of copying it.
        DatasetFromList(images, copy=False),
        build_train_mapper(cfg, names, images),
        ims_per_batch=cfg.SOLVER.IMS_PER_BATCH,
        seed=seed,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
    )


def build_test_loader(cfg: CfgNode, dataset_name: str) -> Loader:
    """Build a loader of this rank's share of a dataset, each image once.

    Detectors get one image at a time, as in Detectron2; a classifier gets as many as in training.
    archval, on which a search trains its finalists, is read without its twins.
    """
    check_proposals(cfg, "TEST")
    settings: dict[str, Any] = {}
    if is_classification(dataset_name):
        settings["mapper"] = ClassificationMapper.from_config(cfg, is_train=False)
        settings["batch_size"] = max(1, cfg.SOLVER.IMS_PER_BATCH // comm.get_world_size())
    else:
        settings["mapper"] = NamingMapper(cfg, is_train=False)
    if dataset_name in cfg.DATASETS.ARCHVAL and archval_twins(cfg):
        kept = read_images(cfg, [dataset_name], filter_empty=False)
        settings |= {"dataset": kept, "sampler": InferenceSampler(len(kept))}
    loader: Loader = build_detection_test_loader(cfg, dataset_name, **settings)
    return loader
