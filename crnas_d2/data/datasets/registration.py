"""Register datasets: COCO JSON files, and folders of images in ImageNet's layout.

::

    root/n01440764/ILSVRC2012_val_00000293.JPEG     one folder per class, named after it
    root/n01443537/...
"""

import os
from collections.abc import Callable, Sequence

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from torchvision.datasets import ImageFolder


def register_datasets(cfg) -> None:
    """Register the user's datasets in this process; a second call changes nothing."""
    register_coco_format(cfg.DATASETS.COCO_FORMAT)
    register_image_folders(cfg.DATASETS.IMAGE_FOLDERS)


def register_coco_format(entries: Sequence[Sequence[str]]) -> None:
    """Register the user's datasets of ``DATASETS.COCO_FORMAT``.

    Args:
        entries: ``[name, json file, image folder]`` each.

    Raises:
        ValueError: a malformed entry, a missing file, or the name of another dataset.
    """
    for entry in entries:
        if len(entry) != 3:
            raise ValueError(
                f"DATASETS.COCO_FORMAT holds {entry}; expected [name, json file, image folder]."
            )
        name, json_file, image_root = entry
        if not os.path.isfile(json_file) or not os.path.isdir(image_root):
            missing = image_root if os.path.isfile(json_file) else json_file
            raise ValueError(f"DATASETS.COCO_FORMAT names '{name}', but {missing} does not exist.")
        if name in DatasetCatalog:
            if MetadataCatalog.get(name).get("json_file") == json_file:
                continue
            raise ValueError(
                f"DATASETS.COCO_FORMAT registers '{name}', but another dataset has this name; "
                "choose a different one."
            )
        register_coco_instances(name, {}, json_file, image_root)


def load_image_folder(root: str, name: str) -> list[dict]:
    """List the images of a folder as ``{"file_name", "label"}``; classes are sorted by name.

    Args:
        name: of the registered dataset; its metadata get the names of the classes.

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


def register_image_folder(name: str, root: str, make: Callable[[], None] = lambda: None) -> None:
    """Register one folder as a Detectron2 dataset.

    Args:
        make: called before the folder is read, for a dataset that is made on first use.
    """

    def load() -> list[dict]:
        make()
        return load_image_folder(root, name)

    DatasetCatalog.register(name, load)
    MetadataCatalog.get(name).set(image_root=root, evaluator_type="classification")


def register_image_folders(entries: Sequence[Sequence[str]]) -> None:
    """Register the user's datasets of ``DATASETS.IMAGE_FOLDERS``.

    Args:
        entries: ``[name, folder]`` each.

    Raises:
        ValueError: a malformed entry, a missing folder, or the name of another dataset.
    """
    for entry in entries:
        if len(entry) != 2:
            raise ValueError(f"DATASETS.IMAGE_FOLDERS holds {entry}; expected [name, folder].")
        name, root = entry
        if not os.path.isdir(root):
            raise ValueError(f"DATASETS.IMAGE_FOLDERS names '{name}', but {root} does not exist.")
        if name in DatasetCatalog:
            if is_classification(name) and MetadataCatalog.get(name).image_root == root:
                continue
            raise ValueError(
                f"DATASETS.IMAGE_FOLDERS registers '{name}', but another dataset has this name; "
                "choose a different one."
            )
        register_image_folder(name, root)


def is_classification(name: str) -> bool:
    """Whether a registered dataset holds images with one label each."""
    return MetadataCatalog.get(name).get("evaluator_type") == "classification"
