"""Layers that a supernet is made of."""

from .channel_mixed_conv import ChannelMixedConv2d
from .choice_block import (
    BranchDepthChoice,
    ChoiceBlock,
    OperationChoice,
    PrefixDepthChoice,
    active_modules,
)
from .decoded_conv import DecodedConv2d, decode_conv, decoded_weights
from .dilation import DilationChoice, set_dilation
from .norm import resolve_norm
from .shuffle_blocks import ConvReLU, ShuffleBlock, XceptionBlock

__all__ = [
    "BranchDepthChoice",
    "ChannelMixedConv2d",
    "ChoiceBlock",
    "ConvReLU",
    "DecodedConv2d",
    "DilationChoice",
    "OperationChoice",
    "PrefixDepthChoice",
    "ShuffleBlock",
    "XceptionBlock",
    "active_modules",
    "decode_conv",
    "decoded_weights",
    "resolve_norm",
    "set_dilation",
]
