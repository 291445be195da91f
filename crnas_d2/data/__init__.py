"""Datasets; importing this package registers them with Detectron2."""

from . import builtin  # noqa: F401  (registers)
from .checks import check_class_count, check_datasets, check_disjoint, register_coco_format
from .digits import make_digits
from .fixed_batches import build_fixed_batches

__all__ = [
    "build_fixed_batches",
    "check_class_count",
    "check_datasets",
    "check_disjoint",
    "make_digits",
    "register_coco_format",
]
