"""Scores: of a dataset, and of one candidate of a search."""

from .build import build_evaluator, metric_names
from .fast_coco_evaluator import FastCOCOEvaluator
from .subnet_evaluator import SubnetEvaluator

__all__ = ["FastCOCOEvaluator", "SubnetEvaluator", "build_evaluator", "metric_names"]
