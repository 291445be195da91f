"""Datasets, from files to the inputs of a model; importing it registers the built-in ones.

The rooms, each of which may import those before it: ``annotations`` (files of annotations),
``images`` (files of images), ``layouts`` (folders as labelling tools write them), ``embedded``
(generated datasets), ``datasets`` (registered ones) and ``loaders``.
"""

from .datasets import builtin  # noqa: F401  (registration)
from .datasets.archval import archval_twins, check_archval, check_disjoint, kept_ids, read_images
from .datasets.checks import check_class_count, check_data, check_datasets, check_task
from .datasets.class_names import CLASSES, ClassNames, class_record, find_classes, match_classes
from .datasets.registration import register_coco_format, register_datasets, register_image_folders
from .datasets.sizes import DatasetSizes
from .embedded import make_letters, make_letters_crops
from .images.pixels import ImageError
from .layouts import LAYOUT_REGISTRY, Layout, find_layout
from .loaders.build import build_resumable_loader, build_test_loader, build_train_loader
from .loaders.fixed_batches import build_fixed_batches, fixed_images, padding_differs
from .loaders.resumable import ResumableLoader

__all__ = [
    "CLASSES",
    "LAYOUT_REGISTRY",
    "ClassNames",
    "DatasetSizes",
    "ImageError",
    "Layout",
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
    "find_layout",
    "fixed_images",
    "kept_ids",
    "make_letters",
    "make_letters_crops",
    "match_classes",
    "padding_differs",
    "read_images",
    "register_coco_format",
    "register_datasets",
    "register_image_folders",
]
