"""Effective receptive fields of trained networks on images of a dataset, or of the user."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from detectron2.config import CfgNode
from tqdm import tqdm

from crnas_d2.common.progress import progress_bar
from crnas_d2.config.architectures import find_architecture
from crnas_d2.data import ImageError, check_datasets, fixed_images, register_datasets
from crnas_d2.data.images.pictures import find_pictures
from crnas_d2.data.loaders.mappers import ClassificationMapper, NamingMapper
from crnas_d2.evaluation.effective_field import EffectiveField, effective_fields, usual_features

from .loaded_network import load_network

logger = logging.getLogger(__name__)

Record = dict[str, Any]  # Detectron2's of an image


def field_images(cfg: CfgNode, paths: Sequence[str], number: int) -> list[Record]:
    """Choose at most ``number`` images to measure fields on, as entries of Detectron2's datasets.

    Args:
        cfg: of a network; its ``SEED`` samples the images.
        paths: images and folders; empty: ``DATASETS.TEST``, else ``DATASETS.TRAIN``.

    Raises ValueError for a path without images, or without a dataset.
    """
    if paths:
        files = [str(p.file) for p in find_pictures(paths) if not p.is_video]
        if not files:
            raise ValueError(f"There are only videos in {', '.join(paths)}; expected images.")
        if len(files) > number:  # evenly
            files = [files[index * len(files) // number] for index in range(number)]
        return [{"file_name": file, "image_id": file} for file in files]
    key = "TEST" if cfg.DATASETS.TEST else "TRAIN"
    names = tuple(cfg.DATASETS[key])
    if not names:
        text = "DATASETS.TEST and DATASETS.TRAIN are empty: name images or folders with --images."
        raise ValueError(text)
    register_datasets(cfg)
    check_datasets(f"DATASETS.{key}", names, depth_range=cfg.INPUT.DEPTH_RANGE)
    return fixed_images(cfg, names, num_images=number)


def measure_fields(
    networks: Mapping[str, CfgNode], images: Sequence[Record], features: Sequence[str] = ()
) -> dict[str, dict[str, EffectiveField]]:
    """Measure fields on the same images, by name of the network and of the feature.

    Args:
        networks: configs of :func:`~crnas_d2.runs.loaded_network.network_config`, by name. Each
            reads the images at the size of its inference.
        features: default: the usual ones of each network.

    Raises JobError or ValueError if weights or images cannot be read, or a feature is not known.
    """
    fields, total = {}, len(networks) * len(images)
    with progress_bar(total=total, unit="img", desc="Receptive fields") as bar:
        for name, cfg in networks.items():
            model = load_network(cfg).model
            try:
                wanted = features or usual_features(model)
                fields[name] = effective_fields(model, _read(cfg, images, bar), wanted)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
    return fields


def _read(cfg: CfgNode, images: Sequence[Record], bar: "tqdm[Any]") -> Iterator[Record]:
    """Yield images as inference reads them; those that cannot be read are named and skipped."""
    classifies = find_architecture(cfg).classifies
    make: Any = ClassificationMapper.from_config if classifies else NamingMapper
    mapper = make(cfg, is_train=False)
    for image in images:
        try:
            yield mapper(image)
        except ImageError as error:
            logger.warning("Skipped: %s", error)
        bar.update()
