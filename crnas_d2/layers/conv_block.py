"""A convolution with norm and activation, the building block of MobileNetV2 and ShuffleNetV2."""

import fvcore.nn.weight_init as weight_init
from detectron2.layers import CNNBlockBase, Conv2d, get_norm
from torch import Tensor, nn


def conv_norm(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    norm: str,
    stride: int = 1,
    groups: int = 1,
    activation: type[nn.ReLU | nn.ReLU6] | None = None,
) -> Conv2d:
    """Build a convolution without bias that keeps height and width, up to its stride.

    Args:
        norm: a name that ``detectron2.layers.get_norm`` accepts.
        activation: applied in place after the norm; ``None`` for a linear convolution. A module,
            because TorchScript compiles no function that is an attribute.
    """
    conv = Conv2d(
        in_channels,
        out_channels,
        kernel_size=kernel_size,
        stride=stride,
        padding=kernel_size // 2,
        groups=groups,
        bias=False,
        norm=get_norm(norm, out_channels),
        activation=None if activation is None else activation(inplace=True),
    )
    # Kaiming normal over the fan-out (He et al. 2015), as in Detectron2's ResNet and torchvision's
    # MobileNetV2.
    weight_init.c2_msra_fill(conv)
    return conv


class ConvBlock(CNNBlockBase):
    """One convolution as a block: a body's stem (3x3, stride 2) and the 1x1 at its end.

    Args:
        norm, activation: see :func:`conv_norm`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        norm: str = "BN",
        activation: type[nn.ReLU | nn.ReLU6] = nn.ReLU,
    ):
        super().__init__(in_channels, out_channels, stride)
        self.conv1 = conv_norm(
            in_channels, out_channels, kernel_size, norm, stride, activation=activation
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(N, in_channels, H, W)`` to ``(N, out_channels, H / stride, W / stride)``."""
        return self.conv1(x)
