"""Datasets; importing this package registers them with Detectron2."""

from . import builtin  # noqa: F401  (registration)
from .archval import archval_twins, check_archval, check_disjoint, kept_ids, read_images
from .checks import (
    check_class_count,
    check_data,
    check_datasets,
    register_coco_format,
    register_datasets,
)
from .class_names import CLASSES, ClassNames, class_record, find_classes
from .classification import check_task, register_image_folders
from .embedded import make_letters, make_letters_crops
from .fixed_batches import build_fixed_batches, fixed_images
from .image_errors import ImageError
from .loaders import build_test_loader
from .resumable_loader import ResumableLoader, build_resumable_loader, build_train_loader
from .sizes import DatasetSizes

__all__ = [
    "CLASSES",
    "ClassNames",
    "DatasetSizes",
    "ImageError",
    "ResumableLoader",
    "archval_twins",
    "build_fixed_batches",
    "build_resumable_loader",
    "build_test_loader",
    "build_train_loader",
    "check_archval",
    "check_class_count",
    "check_data",
    "check_datasets",
    "check_disjoint",
    "check_task",
    "class_record",
    "find_classes",
    "fixed_images",
    "kept_ids",
    "make_letters",
    "make_letters_crops",
    "read_images",
    "register_coco_format",
    "register_datasets",
    "register_image_folders",
]
