"""Datasets that the package makes by itself, identical on every machine."""

from .digits import make_digits
from .handwriting import make_handwriting

__all__ = ["make_digits", "make_handwriting"]
