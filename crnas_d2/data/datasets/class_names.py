"""The classes of a detector by name, as a dataset has them or a checkpoint keeps them."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from crnas_d2.config.architectures import num_classes

from .registration import register_datasets

CLASSES = "classes"  # the key of a checkpoint


@dataclass(frozen=True)
class ClassNames:
    """The classes of a detector, in the order of its outputs.

    Attributes:
        names: of the classes.
        ids: of the dataset's categories, which predictions in COCO's format refer to.
    """

    names: tuple[str, ...]
    ids: tuple[int, ...]

    def to_record(self) -> dict[str, list[Any]]:
        """Return plain data for a checkpoint or a JSON file."""
        return {"names": list(self.names), "ids": list(self.ids)}

    @classmethod
    def from_record(cls, record: Any) -> "ClassNames | None":
        """Read what :meth:`to_record` returned; ``None`` for anything else."""
        with suppress(KeyError, TypeError, ValueError):
            found = cls(tuple(map(str, record["names"])), tuple(map(int, record["ids"])))
            if len(found.names) == len(found.ids):
                return found
        return None

    @classmethod
    def numbers(cls, count: int) -> "ClassNames":
        """Return ``class 0``, ``class 1`` and so on, for a detector of which nothing is known."""
        return cls(tuple(f"class {index}" for index in range(count)), tuple(range(count)))


def dataset_classes(name: str) -> ClassNames | None:
    """Return the classes of a dataset; ``None`` if it has none, or has not been loaded."""
    metadata = MetadataCatalog.get(name)
    names = metadata.get("thing_classes")
    if not names:
        return None
    index_of = metadata.get("thing_dataset_id_to_contiguous_id")
    ids = list(range(1, len(names) + 1))
    if isinstance(index_of, Mapping) and len(index_of) == len(names):
        ids = sorted(index_of, key=lambda category: index_of[category])
    return ClassNames(tuple(names), tuple(ids))


def class_record(cfg: CfgNode) -> dict[str, dict[str, list[Any]]]:
    """Return what a checkpoint says about the classes of ``DATASETS.TRAIN``, which is loaded."""
    classes = dataset_classes(cfg.DATASETS.TRAIN[0]) if cfg.DATASETS.TRAIN else None
    return {CLASSES: classes.to_record()} if classes is not None else {}


def find_classes(cfg: CfgNode) -> ClassNames | None:
    """Look for the classes in the datasets of a config; ``None`` if none of them is at hand.

    Nothing is generated or downloaded: of a dataset without names, an existing JSON file is read.
    """
    # What was registered before an error counts: another dataset may have gone.
    with suppress(ValueError):
        register_datasets(cfg)
    for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        if name not in DatasetCatalog:
            continue
        file = MetadataCatalog.get(name).get("json_file")
        if dataset_classes(name) is None and file and os.path.isfile(file):
            with suppress(ValueError, KeyError, TypeError, AssertionError, OSError):
                DatasetCatalog.get(name)
        found = dataset_classes(name)
        if found is not None and len(found.names) == num_classes(cfg):
            return found
    return None
