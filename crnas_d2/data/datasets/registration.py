"""Register datasets: COCO JSON files, and folders of images in ImageNet's layout.

::

    root/n01440764/ILSVRC2012_val_00000293.JPEG     one folder per class, named after it
    root/n01443537/...
"""

import os
from collections.abc import Callable, Sequence
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from torchvision.datasets import ImageFolder

Entry = dict[str, Any]  # of an image, in Detectron2's format


def register_datasets(cfg: CfgNode) -> None:
    """Register the user's datasets in this process; a second call changes nothing."""
    register_coco_format(cfg.DATASETS.COCO_FORMAT)
    register_image_folders(cfg.DATASETS.IMAGE_FOLDERS)


def register_coco_format(entries: Sequence[Sequence[str]]) -> None:
    """Register the datasets of ``DATASETS.COCO_FORMAT``, ``[name, json file, image folder]`` each.

    Raises:
        ValueError: a malformed entry, a missing file, or the name of another dataset.
    """
    for entry in entries:
        if _is_new("DATASETS.COCO_FORMAT", entry, "[name, json file, image folder]", "json_file"):
            name, json_file, image_root = entry
            register_coco_instances(name, {}, json_file, image_root)


def register_image_folders(entries: Sequence[Sequence[str]]) -> None:
    """Register the datasets of ``DATASETS.IMAGE_FOLDERS``, ``[name, folder]`` each.

    Raises:
        ValueError: a malformed entry, a missing folder, or the name of another dataset.
    """
    for entry in entries:
        if _is_new("DATASETS.IMAGE_FOLDERS", entry, "[name, folder]", "image_root"):
            name, folder = entry
            register_image_folder(name, folder)


def _is_new(key: str, entry: Sequence[str], expected: str, source: str) -> bool:
    """Whether an entry is not registered yet; in the metadata, ``source`` tells datasets apart."""
    if len(entry) != len(expected.split(", ")):
        raise ValueError(f"{key} holds {entry}; expected {expected}.")
    name, *files, folder = entry
    missing = [file for file in files if not os.path.isfile(file)]
    if not os.path.isdir(folder):
        missing.append(folder)
    if missing:
        raise ValueError(f"{key} names '{name}', but {missing[0]} does not exist.")
    if name not in DatasetCatalog:
        return True
    metadata, keys = MetadataCatalog.get(name), dict.fromkeys((source, "image_root"))
    known = [os.path.realpath(metadata.get(each, "")) for each in keys]
    is_same_kind = is_classification(name) == (source == "image_root")
    if is_same_kind and known == [os.path.realpath(path) for path in entry[1:]]:
        return False
    raise ValueError(
        f"{key} registers '{name}', but another dataset has this name; choose a different one."
    )


def register_image_folder(name: str, root: str, make: Callable[[], None] = lambda: None) -> None:
    """Register one folder, which ``make`` makes on first use, as a Detectron2 dataset."""

    def load() -> list[Entry]:
        make()
        return load_image_folder(root, name)

    DatasetCatalog.register(name, load)
    MetadataCatalog.get(name).set(image_root=root, evaluator_type="classification")


def load_image_folder(root: str, name: str) -> list[Entry]:
    """List the images of a folder as ``{"file_name", "label"}``; classes are sorted by name.

    The metadata of the dataset ``name`` get the names of the classes.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no class folders in it, or one without images.
    """
    try:
        folder = ImageFolder(root)
    except FileNotFoundError as error:
        if error.filename is not None:
            raise
        raise ValueError(
            f"The classification dataset '{name}' is in {root}, which is not laid out as one "
            f"folder of images per class: {error}"
        ) from error
    MetadataCatalog.get(name).thing_classes = folder.classes
    return [{"file_name": file, "label": label} for file, label in folder.samples]


def is_classification(name: str) -> bool:
    """Whether a registered dataset holds images with one label each."""
    return bool(MetadataCatalog.get(name).get("evaluator_type") == "classification")
