"""Image classification data: folders in ImageNet's layout, as Detectron2 datasets.

::

    root/n01440764/ILSVRC2012_val_00000293.JPEG     one folder per class, named after it
    root/n01443537/...
"""

import os
from collections.abc import Callable, Sequence

import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.detection_utils import read_image
from torchvision.datasets import ImageFolder

from crnas_d2.config.architectures import find_architecture

from .image_errors import naming

_FLIPS = ("horizontal", "none")


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


def check_task(cfg, names: Sequence[str]) -> None:
    """Raise ValueError for datasets that do not match the model's task, or each other's classes.

    Args:
        names: of all datasets that will be read; they have been loaded.
    """
    architecture = cfg.MODEL.META_ARCHITECTURE
    classifies = find_architecture(cfg).classifies
    for name in names:
        if is_classification(name) != classifies:
            kind = "classification" if is_classification(name) else "detection"
            raise ValueError(
                f"MODEL.META_ARCHITECTURE is {architecture}, but '{name}' is a dataset for {kind}; "
                + ("use image folders." if classifies else "use ImageClassifier for it.")
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


def build_transform(cfg, *, is_train: bool) -> Callable[[torch.Tensor], torch.Tensor]:
    """Build the usual augmentation of ImageNet for a uint8 image (C, H, W).

    Training uses a random crop, resized to CROP_SIZE, and a horizontal flip (Szegedy et al. 2015,
    section 6); otherwise it is the centre of the resized image.
    """
    # Imported here, because detection never uses it.
    from torchvision.transforms import v2

    keys, flip = cfg.INPUT.CLASSIFICATION, cfg.INPUT.RANDOM_FLIP
    if flip not in _FLIPS:
        raise ValueError(
            f"INPUT.RANDOM_FLIP is '{flip}'; expected one of {_FLIPS} for classification."
        )
    if keys.RESIZE_TEST < keys.CROP_SIZE:
        raise ValueError(
            f"INPUT.CLASSIFICATION.RESIZE_TEST is {keys.RESIZE_TEST}; expected at least CROP_SIZE "
            f"({keys.CROP_SIZE}), the size of the crop from the resized image."
        )
    if not is_train:
        return v2.Compose(
            [v2.Resize(keys.RESIZE_TEST, antialias=True), v2.CenterCrop(keys.CROP_SIZE)]
        )
    crop = v2.RandomResizedCrop(keys.CROP_SIZE, scale=tuple(keys.CROP_AREA), antialias=True)
    return v2.Compose([crop, v2.RandomHorizontalFlip()] if flip == "horizontal" else [crop])


class ClassificationMapper:
    """Maps an entry of :func:`load_image_folder` to an input of the classifier.

    Args:
        image_format: order of the channels, e.g. ``BGR``, as for Detectron2's detectors.
        transform: applied to the uint8 image (C, H, W).
    """

    def __init__(self, *, image_format: str, transform: Callable[[torch.Tensor], torch.Tensor]):
        self.image_format = image_format
        self.transform = transform

    def __call__(self, dataset_dict: dict) -> dict:
        """Add ``image``, uint8 (C, H, W)."""
        with naming(dataset_dict["file_name"]):
            pixels = read_image(dataset_dict["file_name"], format=self.image_format)
        # (H, W, C) to (C, H, W)
        image = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        return {**dataset_dict, "image": self.transform(image)}
