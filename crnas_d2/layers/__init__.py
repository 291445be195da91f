"""Layers that a supernet is made of."""

from .choice_block import (
    BranchDepthChoice,
    ChoiceBlock,
    OperationChoice,
    PrefixDepthChoice,
    active_modules,
)
from .dilation import DilationChoice, set_dilation
from .norm import resolve_norm

__all__ = [
    "BranchDepthChoice",
    "ChoiceBlock",
    "DilationChoice",
    "OperationChoice",
    "PrefixDepthChoice",
    "active_modules",
    "resolve_norm",
    "set_dilation",
]
