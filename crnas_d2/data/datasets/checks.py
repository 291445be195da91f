"""Checks of datasets before hours of training or search."""

import os
from collections.abc import Callable, Sequence
from functools import partial

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from crnas_d2.common.errors import did_you_mean, invalid
from crnas_d2.config.architectures import find_architecture
from crnas_d2.data.images.transforms import build_transform
from crnas_d2.space import SPACE_REGISTRY

from .archval import check_archval
from .files_in_use import check_annotation_file, check_image_files
from .objects_in_use import check_objects
from .proposals import check_proposals
from .registration import Entry, is_classification, register_datasets

_COCO_POINTS = range(17)  # for which COCO's evaluation has sigmas


def check_data(cfg: CfgNode, keys: Sequence[str]) -> None:
    """Register the user's datasets, and check that they fit the model and each other.

    Args:
        keys: of ``cfg.DATASETS``, those that will be read, e.g. ``TRAIN``.

    Raises:
        ValueError: with the key, its value and the fix.
    """
    register_datasets(cfg)
    supernet = cfg.MODEL.SUPERNET
    is_supernet = supernet.SPACE != "none" and supernet.PATH_SAMPLER != "fixed"
    trains_on_archval = is_supernet and SPACE_REGISTRY.get(supernet.SPACE).trains_on_archval
    for key in keys:
        if key == "TRAIN" and not cfg.DATASETS.TRAIN:
            raise ValueError(
                "DATASETS.TRAIN is empty: name the datasets to train on, or to calibrate BN on."
            )
        trains = key == "TRAIN" or (key == "ARCHVAL" and trains_on_archval)
        check_datasets(
            f"DATASETS.{key}",
            cfg.DATASETS[key],
            depth_range=cfg.INPUT.DEPTH_RANGE,
            check=partial(_check_fit, cfg, key, trains),
            sizes=_sizes(cfg, trains),
            is_scored=not trains,
            has_masks=cfg.MODEL.MASK_ON,
            needs_annotations=key != "TEST",
        )
    names = [name for key in keys for name in cfg.DATASETS[key]]
    check_task(cfg, names)
    sigmas, points = cfg.TEST.KEYPOINT_OKS_SIGMAS, cfg.MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS
    if cfg.MODEL.KEYPOINT_ON and len(sigmas or _COCO_POINTS) != points and set(keys) - {"TRAIN"}:
        expected = f"a number for each of the {points} key points"
        but = "" if sigmas else f"the default is COCO's, for {len(_COCO_POINTS)} key points"
        raise invalid("TEST.KEYPOINT_OKS_SIGMAS", sigmas, expected, but=but)
    for key in keys:
        if key in ("TRAIN", "TEST"):
            check_proposals(cfg, key)
    check_class_count(cfg, names)
    if "ARCHVAL" in keys:
        check_archval(cfg)


def _sizes(cfg: CfgNode, trains: bool) -> tuple[int, int]:
    """Return the sides to which whole images are resized; of crops, nothing is known."""
    inputs = cfg.INPUT
    if find_architecture(cfg).classifies or (trains and inputs.CROP.ENABLED):
        return 0, 0
    if trains:
        return max(inputs.MIN_SIZE_TRAIN), inputs.MAX_SIZE_TRAIN
    return inputs.MIN_SIZE_TEST, inputs.MAX_SIZE_TEST


def _check_fit(cfg: CfgNode, key: str, trains: bool, name: str, images: Sequence[Entry]) -> None:
    """Raise ValueError for a dataset without what the model is trained with, or with more of it."""
    metadata, model = MetadataCatalog.get(name), cfg.MODEL
    points = model.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS
    if model.KEYPOINT_ON:
        names = metadata.get("keypoint_names")
        if names is None or metadata.get("keypoint_flip_map") is None:
            raise ValueError(
                f"MODEL.KEYPOINT_ON is True, but '{name}' has no names of keypoints in its "
                "metadata (keypoint_names, keypoint_flip_map). Set them, or the key to False."
            )
        if len(names) != points:
            but, fix = f"'{name}' has {len(names)} key points", f"Set it to {len(names)}"
            raise invalid("MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS", points, but=but, fix=fix)
    check_objects(cfg, f"DATASETS.{key} names '{name}'", images, trains=trains)
    if "segmentation" not in find_architecture(cfg).parts:
        return
    if "sem_seg_file_name" not in images[0]:
        raise ValueError(
            f"MODEL.META_ARCHITECTURE is {cfg.MODEL.META_ARCHITECTURE}, but '{name}' has no "
            "semantic segmentation (sem_seg_file_name). Use another of either."
        )
    classes, expected = metadata.get("stuff_classes"), model.SEM_SEG_HEAD.NUM_CLASSES
    if classes is not None and len(classes) != expected:
        but = f"'{name}' has {len(classes)} classes of pixels (stuff_classes)"
        fix = f"Set it to {len(classes)}"
        raise invalid("MODEL.SEM_SEG_HEAD.NUM_CLASSES", expected, but=but, fix=fix)


def check_datasets(
    key: str,
    names: Sequence[str],
    *,
    depth_range: Sequence[float] = (),
    sizes: tuple[int, int] = (0, 0),
    check: Callable[[str, Sequence[Entry]], None] = lambda name, images: None,
    **use: bool,
) -> None:
    """Check the annotations of each dataset, load it, and check that its files exist.

    Args:
        key: the config key that names them, for messages.
        depth_range, sizes: of the images, see :func:`~.files_in_use.check_image_files`.
        check: of a dataset's name and entries, which are loaded here.
        use: of the annotations, see :func:`~.files_in_use.check_annotation_file`.

    Raises:
        ValueError: an unregistered name, a missing annotation file, annotations that would be
            trained or scored wrongly, missing images, or no images.
    """
    for name in names:
        subject = f"{key} names '{name}'"
        if name not in DatasetCatalog:
            raise ValueError(
                f"{subject}, which is not registered.{did_you_mean(name, DatasetCatalog.list())} "
                f"Registered: {', '.join(sorted(DatasetCatalog.list()))}. DATASETS.COCO_FORMAT "
                "registers your own."
            )
        metadata = MetadataCatalog.get(name)
        file = metadata.get("json_file")
        # One that is not there is made, or missed, on loading.
        if metadata.get("evaluator_type") == "coco" and file and os.path.isfile(file):
            check_annotation_file(subject, file, **use)
        try:
            images = DatasetCatalog.get(name)
        except (ValueError, AssertionError, KeyError, TypeError) as error:  # of odd annotations
            raise ValueError(f"{subject}, which cannot be read: {error}") from error
        except FileNotFoundError as error:
            command = metadata.get("made_by")
            raise ValueError(
                f"{subject}, but {error.filename} does not exist. Detectron2 looks for datasets "
                "below $DETECTRON2_DATASETS (default: ./datasets)."
                + (f" This file is made by: {command}" if command else "")
            ) from error
        if not images:
            raise ValueError(f"{subject}, which holds no images.")
        missing = [image["file_name"] for image in images if not os.path.isfile(image["file_name"])]
        if missing:
            raise ValueError(
                f"{subject}: {len(missing)} of its {len(images)} image files do not exist, the "
                f"first is {missing[0]}."
            )
        check(name, images)
        check_image_files(subject, images, depth_range=depth_range, sizes=sizes)


def check_class_count(cfg: CfgNode, names: Sequence[str]) -> None:
    """Raise ValueError if the classes of a loaded dataset are not the model's or the first's."""
    section = find_architecture(cfg).class_section
    if section is None:
        return
    expected = cfg.MODEL[section].NUM_CLASSES
    for name in names:
        classes = MetadataCatalog.get(name).get("thing_classes")
        if classes is not None and len(classes) != expected:
            but, fix = f"'{name}' has {len(classes)} classes", f"Set it to {len(classes)}"
            raise invalid(f"MODEL.{section}.NUM_CLASSES", expected, but=but, fix=fix)
        first = MetadataCatalog.get(names[0]).get("thing_classes")
        if classes != first:
            raise ValueError(
                f"'{names[0]}' has the classes {first}, '{name}' has {classes}: a class must have "
                "the same position in both. Order the categories of both files by the same ids."
            )


def check_task(cfg: CfgNode, names: Sequence[str]) -> None:
    """Raise ValueError for loaded datasets that do not match the model's task or each other."""
    classifies = find_architecture(cfg).classifies
    for name in names:
        if is_classification(name) != classifies:
            kind = "detection" if classifies else "classification"
            raise ValueError(
                f"MODEL.META_ARCHITECTURE is {cfg.MODEL.META_ARCHITECTURE}, but '{name}' is a "
                f"dataset for {kind}; use "
                + ("image folders." if classifies else "ImageClassifier for it.")
            )
    if not classifies:
        return
    for is_train in (True, False):
        build_transform(cfg, is_train=is_train)
    # A label is the index of a folder in sorted order, so an additional folder shifts the labels.
    for name in names:
        ours, others = (set(MetadataCatalog.get(n).thing_classes) for n in (names[0], name))
        if ours != others:
            raise ValueError(
                f"'{names[0]}' and '{name}' have different classes, e.g. "
                f"{', '.join(sorted(ours ^ others)[:3])} in only one of them. Their class folders "
                "must have the same names."
            )
