"""Scores of a network on a dataset, and of one candidate of a search."""

from .bn_calibration import batch_statistics, calibrated
from .bootstrap import DetectionMatches, ImageHits, ImageResults, resampled_images
from .classification_evaluator import ClassificationEvaluator
from .dataset_evaluators import (
    EVALUATOR_REGISTRY,
    EvaluatorBuilder,
    build_evaluator,
    evaluator_builder,
)
from .fast_coco_evaluator import FastCOCOEvaluator
from .noise import (
    FitnessNoise,
    NoiseFiles,
    difference_interval,
    images_to_tell,
    score_interval,
    student_quantile,
)
from .precision import build_precision, check_precision, use_channels_last
from .racing import Race, Rival, cannot_win, pauses
from .subnet_evaluator import SubnetEvaluator

__all__ = [
    "EVALUATOR_REGISTRY",
    "ClassificationEvaluator",
    "DetectionMatches",
    "EvaluatorBuilder",
    "FastCOCOEvaluator",
    "FitnessNoise",
    "ImageHits",
    "ImageResults",
    "NoiseFiles",
    "Race",
    "Rival",
    "SubnetEvaluator",
    "batch_statistics",
    "build_evaluator",
    "build_precision",
    "calibrated",
    "cannot_win",
    "check_precision",
    "difference_interval",
    "evaluator_builder",
    "images_to_tell",
    "pauses",
    "resampled_images",
    "score_interval",
    "student_quantile",
    "use_channels_last",
]
