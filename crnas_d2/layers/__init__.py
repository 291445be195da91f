"""Layers that a supernet is made of."""

from .blocks import (
    DILATIONS,
    ConvBlock,
    InvertedResidual,
    ShuffleBlock,
    XceptionBlock,
    conv_norm,
    set_dilation,
)
from .channel_mixed_conv import ChannelMixedConv2d
from .choice_block import (
    BranchDepthChoice,
    ChoiceBlock,
    OperationChoice,
    PrefixDepthChoice,
    SharedWeightChoice,
    active_modules,
)
from .decoded_conv import DecodedConv2d, decode_conv, decoded_weights
from .norm import resolve_norm, zero_norm

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
    "conv_norm",
    "decode_conv",
    "decoded_weights",
    "resolve_norm",
    "set_dilation",
    "zero_norm",
]
