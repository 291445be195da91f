"""Layers that a supernet is made of."""

from .channel_mixed_conv import ChannelMixedConv2d
from .choice_block import (
    BranchDepthChoice,
    ChoiceBlock,
    OperationChoice,
    PrefixDepthChoice,
    SharedWeightChoice,
    active_modules,
)
from .conv_block import ConvBlock
from .decoded_conv import DecodedConv2d, decode_conv, decoded_weights
from .dilation import DILATIONS, dilation_operation, set_dilation
from .inverted_residual import InvertedResidual
from .norm import resolve_norm, zero_norm
from .shuffle_blocks import ShuffleBlock, XceptionBlock

__all__ = [
    "DILATIONS",
    "BranchDepthChoice",
    "ChannelMixedConv2d",
    "ChoiceBlock",
    "ConvBlock",
    "DecodedConv2d",
    "InvertedResidual",
    "OperationChoice",
    "PrefixDepthChoice",
    "SharedWeightChoice",
    "ShuffleBlock",
    "XceptionBlock",
    "active_modules",
    "decode_conv",
    "decoded_weights",
    "dilation_operation",
    "resolve_norm",
    "set_dilation",
    "zero_norm",
]
