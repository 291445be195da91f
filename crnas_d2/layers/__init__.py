"""Layers that a supernet is made of."""

from .choice_block import BranchDepthChoice, ChoiceBlock, PrefixDepthChoice, active_modules
from .norm import resolve_norm

__all__ = [
    "BranchDepthChoice",
    "ChoiceBlock",
    "PrefixDepthChoice",
    "active_modules",
    "resolve_norm",
]
