"""The blocks of ShuffleNetV2 (Ma et al., ECCV 2018) among which DetNAS chooses."""

from abc import abstractmethod

import torch
from detectron2.layers import CNNBlockBase, Conv2d
from torch import Tensor, nn

from .conv_block import conv_norm


class _TwoBranchBlock(CNNBlockBase):
    """One part of the output comes from a branch of convolutions, the other part bypasses it.

    Stride 1 (figure 3c of the paper): half of the input passes unchanged, the other half goes
    through the branch. Stride 2 (figure 3d): the whole input goes through the branch, which
    computes the additional channels, and through ``projection``, which keeps their number.

    The paper splits the channels in the middle and shuffles the output. Here even channels of the
    input bypass the branch and odd ones go through it, as in the code of DetNAS's authors: the
    next block mixes both parts in the same way, and no channel has to be moved.

    Args:
        kernel_size: of the projection's depthwise convolution.
        norm: of every convolution, a name that ``detectron2.layers.get_norm`` accepts.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, kernel_size: int, norm: str
    ):
        super().__init__(in_channels, out_channels, stride)
        assert out_channels % 2 == 0, out_channels
        self.projection = None
        middle_channels = out_channels // 2
        if stride == 1:
            assert in_channels == out_channels, (in_channels, out_channels)
            channels = (middle_channels, middle_channels, middle_channels)
        else:
            assert in_channels < out_channels, (in_channels, out_channels)
            channels = (in_channels, middle_channels, out_channels - in_channels)
            projection = _separable(in_channels, in_channels, kernel_size, norm, stride)
            self.projection = nn.Sequential(*projection)
        self.branch = nn.Sequential(*self.make_branch(*channels, kernel_size, norm))

    @abstractmethod
    def make_branch(
        self, in_channels: int, middle_channels: int, out_channels: int, kernel_size: int, norm: str
    ) -> list[Conv2d]:
        """Build the convolutions of the branch, in order; one has the stride of the block."""

    def forward(self, x: Tensor) -> Tensor:
        """``(N, in_channels, H, W)`` to ``(N, out_channels, H / stride, W / stride)``."""
        if self.projection is None:
            passing, x = x[:, 0::2], x[:, 1::2]  # (N, in_channels / 2, H, W) each
        else:
            passing = self.projection(x)
        return torch.cat([passing, self.branch(x)], dim=1)


class ShuffleBlock(_TwoBranchBlock):
    """The block of ShuffleNetV2, with any kernel: DetNAS's operations 0, 1 and 2.

    Its branch: 1x1 (ReLU), depthwise (linear, has the stride), 1x1 (ReLU). The width inside is
    half of ``out_channels``.

    Args:
        in_channels, out_channels: equal for stride 1; otherwise ``out_channels`` is larger.
        kernel_size: of the depthwise convolutions.
        norm: of every convolution, a name that ``detectron2.layers.get_norm`` accepts.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        kernel_size: int = 3,
        norm: str = "BN",
    ):
        super().__init__(in_channels, out_channels, stride, kernel_size, norm)

    def make_branch(self, in_channels, middle_channels, out_channels, kernel_size, norm):
        return [
            conv_norm(in_channels, middle_channels, 1, norm, activation=nn.ReLU),
            *_separable(middle_channels, out_channels, kernel_size, norm, self.stride),
        ]


class XceptionBlock(_TwoBranchBlock):
    """DetNAS's operation 3: three separable 3x3 convolutions; the first has the stride.

    Each is a depthwise convolution (linear) and a 1x1 (ReLU). The width between them is half of
    ``out_channels``.

    Args:
        in_channels, out_channels, norm: as in :class:`ShuffleBlock`.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, norm: str = "BN"):
        super().__init__(in_channels, out_channels, stride, 3, norm)

    def make_branch(self, in_channels, middle_channels, out_channels, kernel_size, norm):
        return [
            *_separable(in_channels, middle_channels, kernel_size, norm, self.stride),
            *_separable(middle_channels, middle_channels, kernel_size, norm),
            *_separable(middle_channels, out_channels, kernel_size, norm),
        ]


def _separable(
    in_channels: int, out_channels: int, kernel_size: int, norm: str, stride: int = 1
) -> list[Conv2d]:
    """Build a linear depthwise convolution and a 1x1 with ReLU."""
    return [
        conv_norm(in_channels, in_channels, kernel_size, norm, stride, groups=in_channels),
        conv_norm(in_channels, out_channels, 1, norm, activation=nn.ReLU),
    ]
