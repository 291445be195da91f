"""Datasets that the package generates, identical on every machine."""

from .letters import make_letters, make_letters_crops

__all__ = ["make_letters", "make_letters_crops"]
