"""Datasets that the package generates, identical on every machine."""

from .digits import make_digits
from .handwriting import make_handwriting
from .letters import make_letters
from .letters_crops import make_letters_crops

__all__ = ["make_digits", "make_handwriting", "make_letters", "make_letters_crops"]
