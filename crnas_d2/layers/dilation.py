"""Blocks whose 3x3 convolution is dilated: the operations of CR-NAS (section 3.2.2)."""

from collections.abc import Sequence

from detectron2.layers import CNNBlockBase
from torch import nn

from .choice_block import ChoiceBlock

__all__ = ["DilationChoice", "set_dilation"]


def set_dilation(block: CNNBlockBase, dilation: int) -> None:
    """Dilates the convolution of a block that CR-NAS searches; the output keeps its size.

    It is ``conv2`` in all our blocks: the middle one of a Bottleneck, the second one of a
    BasicBlock, the depthwise one of an inverted residual block.
    """
    height, width = block.conv2.kernel_size
    block.conv2.dilation = (dilation, dilation)
    block.conv2.padding = (dilation * (height // 2), dilation * (width // 2))


class DilationChoice(ChoiceBlock):
    """A block that runs with one of several dilations, all with the same weights.

    The memory-saving alternative to an :class:`OperationChoice` between dilations.

    Args:
        block: whose ``conv2`` is dilated.
        dilations: by operation.
    """

    def __init__(self, block: CNNBlockBase, dilations: Sequence[int]):
        super().__init__(block.in_channels, block.out_channels, block.stride, range(len(dilations)))
        self.block = block
        self.dilations = tuple(dilations)

    def choose(self, option: int) -> None:
        super().choose(option)
        set_dilation(self.block, self.dilations[option])

    def active_children(self) -> Sequence[nn.Module]:
        return [self.block]

    def fixed_name(self, name: str) -> tuple[int, str]:
        return 0, name.removeprefix("block.")
