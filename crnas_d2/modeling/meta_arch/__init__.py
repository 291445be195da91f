"""Meta-architectures, registered by name with Detectron2."""

from .classifier import ImageClassifier

__all__ = ["ImageClassifier"]
