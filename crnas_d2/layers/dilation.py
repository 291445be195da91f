"""Blocks whose 3x3 convolution is dilated: the operations of CR-NAS (section 3.2.2)."""

from functools import partial

from detectron2.layers import CNNBlockBase

from crnas_d2.space import Operation


def set_dilation(block: CNNBlockBase, dilation: int) -> None:
    """Dilate the convolution of a block that CR-NAS searches; its output size stays the same.

    This is ``conv2`` in all our blocks: the middle convolution of a Bottleneck, the second of a
    BasicBlock, the depthwise one of an inverted residual block.
    """
    height, width = block.conv2.kernel_size
    block.conv2.dilation = (dilation, dilation)
    block.conv2.padding = (dilation * (height // 2), dilation * (width // 2))


def dilation_operation(dilation: int) -> Operation:
    """Build the operation that dilates ``conv2`` of a block."""
    return Operation(f"dilation {dilation}", change=partial(set_dilation, dilation=dilation))


# The operations of CR-NAS; a genotype refers to them by index.
DILATIONS = tuple(dilation_operation(dilation) for dilation in (1, 2, 3))
