"""The blocks of MobileNetV2, EfficientNet-Lite and ShuffleNetV2, and the dilations of CR-NAS."""

from collections.abc import Callable
from functools import partial

import fvcore.nn.weight_init as weight_init
import torch
from detectron2.layers import CNNBlockBase, Conv2d, get_norm
from torch import Tensor, nn
from torch.nn import functional

from crnas_d2.space import Operation


def conv_norm(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    norm: str,
    stride: int = 1,
    groups: int = 1,
    activation: type[nn.ReLU | nn.ReLU6] | None = None,
    *,
    eps: float | None = None,
    pads_as_tensorflow: bool = False,
) -> Conv2d:
    """Build a convolution without bias that keeps height and width, up to its stride.

    Args:
        norm: a name that ``detectron2.layers.get_norm`` accepts.
        activation: applied in place after the norm; ``None`` for a linear convolution. A module,
            because TorchScript compiles no function that is an attribute.
        eps: of a batch norm; default: torch's.
        pads_as_tensorflow: see :class:`SamePadConv2d`.
    """
    conv_class = SamePadConv2d if pads_as_tensorflow and stride == 2 else Conv2d
    conv = conv_class(
        in_channels,
        out_channels,
        kernel_size,
        stride,
        padding=kernel_size // 2,
        groups=groups,
        bias=False,
        norm=get_norm(norm, out_channels),
        activation=None if activation is None else activation(inplace=True),
    )
    # Kaiming normal over the fan-out (He et al. 2015), as in Detectron2's ResNet.
    weight_init.c2_msra_fill(conv)
    if eps is not None and hasattr(conv.norm, "eps"):
        conv.norm.eps = eps
    return conv


class SamePadConv2d(Conv2d):
    """A convolution of stride 2 that pads an even size at its end only, as TensorFlow's SAME."""

    def forward(self, x: Tensor) -> Tensor:
        (height, width), (top, left) = x.shape[-2:], self.padding
        x = functional.pad(x, (left - (width % 2 == 0), left, top - (height % 2 == 0), top))
        x = functional.conv2d(x, self.weight, None, self.stride, 0, self.dilation, self.groups)
        x = x if self.norm is None else self.norm(x)
        return x if self.activation is None else self.activation(x)


class ConvBlock(CNNBlockBase):
    """One convolution of :func:`conv_norm` as a block: a body's stem and the 1x1 at its end."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        norm: str = "BN",
        activation: type[nn.ReLU | nn.ReLU6] = nn.ReLU,
        make_conv: Callable[..., Conv2d] = conv_norm,
    ):
        super().__init__(in_channels, out_channels, stride)
        self.conv1 = make_conv(
            in_channels, out_channels, kernel_size, norm, stride, activation=activation
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(N, in_channels, H, W)`` to ``(N, out_channels, H / stride, W / stride)``."""
        return self.conv1(x)


class InvertedResidual(CNNBlockBase):
    """The block of MobileNetV2 (table 1 and figure 4d).

    ``conv1`` (1x1, ReLU6) expands the channels, ``conv2`` (3x3 depthwise, ReLU6) has the stride
    and the dilation, ``conv3`` (1x1, linear) projects to ``out_channels``. The input is added to
    the output if they have the same shape.

    Args:
        expansion: width inside the block over ``in_channels``; with 1 there is no ``conv1``.
        kernel_size: of the depthwise convolution.
        make_conv: builds the convolutions as :func:`conv_norm` does.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        expansion: int = 6,
        norm: str = "BN",
        *,
        kernel_size: int = 3,
        make_conv: Callable[..., Conv2d] = conv_norm,
    ):
        super().__init__(in_channels, out_channels, stride)
        channels = in_channels * expansion
        self.conv1 = None
        if expansion > 1:
            self.conv1 = make_conv(in_channels, channels, 1, norm, activation=nn.ReLU6)
        self.conv2 = make_conv(
            channels, channels, kernel_size, norm, stride, groups=channels, activation=nn.ReLU6
        )
        self.conv3 = make_conv(channels, out_channels, 1, norm)
        self.is_residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """``(N, in_channels, H, W)`` to ``(N, out_channels, H / stride, W / stride)``."""
        out = x if self.conv1 is None else self.conv1(x)
        out = self.conv3(self.conv2(out))
        return x + out if self.is_residual else out


class ShuffleBlock(CNNBlockBase):
    """The block of ShuffleNetV2, with any kernel: DetNAS's operations 0, 1 and 2.

    One part of the output comes from a branch of convolutions, the other part bypasses it. The
    branch: 1x1 (ReLU), depthwise (linear, has the stride), 1x1 (ReLU). The width between its
    convolutions is half of ``out_channels``.

    Stride 1 (figure 3c of the paper): half of the input passes unchanged, the other half goes
    through the branch. Stride 2 (figure 3d): the whole input goes through the branch, which
    computes the additional channels, and through ``projection``, which keeps their number.

    The paper splits the channels in the middle and shuffles the output. Here even channels of the
    input bypass the branch and odd ones go through it, as in the code of DetNAS's authors: the
    next block mixes both parts in the same way, and no channel has to be moved.

    Args:
        in_channels, out_channels: equal for stride 1; otherwise ``out_channels`` is larger.
        kernel_size: of the depthwise convolutions.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        kernel_size: int = 3,
        norm: str = "BN",
    ):
        super().__init__(in_channels, out_channels, stride)
        half = out_channels // 2
        is_valid = in_channels == out_channels if stride == 1 else in_channels < out_channels
        assert is_valid and out_channels % 2 == 0, (in_channels, out_channels)
        self.projection = None
        channels = (half, half, half)
        if stride > 1:
            channels = (in_channels, half, out_channels - in_channels)
            projection = _separable(in_channels, in_channels, kernel_size, norm, stride)
            self.projection = nn.Sequential(*projection)
        self.branch = nn.Sequential(*self.make_branch(channels, kernel_size, norm))

    def make_branch(
        self, channels: tuple[int, int, int], kernel_size: int, norm: str
    ) -> list[Conv2d]:
        """Build the convolutions of the branch, of channels in, between and out, in order."""
        first, middle, last = channels
        conv = conv_norm(first, middle, 1, norm, activation=nn.ReLU)
        return [conv, *_separable(middle, last, kernel_size, norm, self.stride)]

    def forward(self, x: Tensor) -> Tensor:
        """``(N, in_channels, H, W)`` to ``(N, out_channels, H / stride, W / stride)``."""
        if self.projection is None:
            passing, x = x[:, 0::2], x[:, 1::2]  # (N, in_channels / 2, H, W) each
        else:
            passing = self.projection(x)
        return torch.cat([passing, self.branch(x)], dim=1)


class XceptionBlock(ShuffleBlock):
    """DetNAS's operation 3, with another branch: three separable 3x3 convolutions.

    Each is a depthwise convolution (linear; the first has the stride) and a 1x1 (ReLU).
    """

    def make_branch(
        self, channels: tuple[int, int, int], kernel_size: int, norm: str
    ) -> list[Conv2d]:
        first, middle, last = channels
        return [
            *_separable(first, middle, kernel_size, norm, self.stride),
            *_separable(middle, middle, kernel_size, norm),
            *_separable(middle, last, kernel_size, norm),
        ]


def _separable(
    in_channels: int, out_channels: int, kernel_size: int, norm: str, stride: int = 1
) -> list[Conv2d]:
    """Build a linear depthwise convolution and a 1x1 with ReLU."""
    return [
        conv_norm(in_channels, in_channels, kernel_size, norm, stride, groups=in_channels),
        conv_norm(in_channels, out_channels, 1, norm, activation=nn.ReLU),
    ]


def set_dilation(block: CNNBlockBase, dilation: int) -> None:
    """Dilate the convolution of a block that CR-NAS searches; its output size stays the same.

    This is ``conv2`` in all our blocks: the middle convolution of a Bottleneck, the second of a
    BasicBlock, the depthwise one of an inverted residual block.
    """
    block.conv2.dilation = (dilation, dilation)
    block.conv2.padding = tuple(dilation * (size // 2) for size in block.conv2.kernel_size)


# The operations of CR-NAS; a genotype refers to them by index.
DILATIONS = tuple(
    Operation(f"dilation {d}", change=partial(set_dilation, dilation=d)) for d in (1, 2, 3)
)
