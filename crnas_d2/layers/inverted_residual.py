"""The block of MobileNetV2 (Sandler et al., CVPR 2018)."""

from detectron2.layers import CNNBlockBase
from torch import Tensor, nn

from .conv_block import conv_norm


class InvertedResidual(CNNBlockBase):
    """The block of MobileNetV2 (table 1 and figure 4d).

    ``conv1`` (1x1, ReLU6) expands the channels, ``conv2`` (3x3 depthwise, ReLU6) has the stride
    and the dilation, ``conv3`` (1x1, linear) projects to ``out_channels``. The input is added to
    the output if they have the same shape.

    Args:
        expansion: width inside the block over ``in_channels``; with 1 there is no ``conv1``.
        norm: of every convolution, a name that ``detectron2.layers.get_norm`` accepts.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        expansion: int = 6,
        norm: str = "BN",
    ):
        super().__init__(in_channels, out_channels, stride)
        channels = in_channels * expansion
        self.conv1 = None
        if expansion > 1:
            self.conv1 = conv_norm(in_channels, channels, 1, norm, activation=nn.ReLU6)
        self.conv2 = conv_norm(
            channels, channels, 3, norm, stride, groups=channels, activation=nn.ReLU6
        )
        self.conv3 = conv_norm(channels, out_channels, 1, norm)
        self.is_residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """``(N, in_channels, H, W)`` to ``(N, out_channels, H / stride, W / stride)``."""
        out = x if self.conv1 is None else self.conv1(x)
        out = self.conv3(self.conv2(out))
        return x + out if self.is_residual else out
