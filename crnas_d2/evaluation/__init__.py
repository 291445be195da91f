"""Scores of a network on a dataset, and of one candidate of a search."""

from .bn_calibration import batch_statistics, calibrated
from .build import build_evaluator, metric_names
from .classification_evaluator import ClassificationEvaluator
from .fast_coco_evaluator import FastCOCOEvaluator
from .subnet_evaluator import SubnetEvaluator

__all__ = [
    "ClassificationEvaluator",
    "FastCOCOEvaluator",
    "SubnetEvaluator",
    "batch_statistics",
    "build_evaluator",
    "calibrated",
    "metric_names",
]
