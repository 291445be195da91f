"""NAS-FPN, the searched feature pyramid of Ghiasi et al., CVPR 2019 (arXiv 1904.07392)."""

from collections.abc import Sequence
from functools import partial

import fvcore.nn.weight_init as weight_init
import torch.nn.functional as F
from detectron2.layers import Conv2d, get_norm
from detectron2.modeling.backbone.backbone import Backbone
from torch import Tensor, nn

OUT_STRIDES = {"p3": 8, "p4": 16, "p5": 32, "p6": 64, "p7": 128}


class NASFPN(Backbone):
    """A body with stacked NAS-FPN pyramids on top; "7 @ 384" is 7 stacks of 384 channels.

    1x1 convolutions bring C3, C4, C5 to ``out_channels``. Stride-2 max pooling makes P6 from P5
    and P7 from P6 (section 3.1: C6 and C7 are C5 pooled). Each stack, a :class:`PyramidStack` with
    weights of its own, turns P3 to P7 into new P3 to P7 of the same shapes.

    Where the paper is silent or other code differs, this follows the authors' implementation
    (tensorflow/tpu, ``models/official/detection/modeling/architecture/nasfpn.py``):

    - Global pooling takes the maximum, and the coarser map gives the attention (MMDetection: the
      mean of the finer one).
    - P6 and P7 have no weights of their own (MMDetection: a 1x1 convolution each).

    DropBlock and the bias of a convolution before a norm, which the norm cancels, are left out.

    The sides of an image need not be multiples of ``size_divisibility``: P6 and P7 round up, and
    each map is resized to the actual size of its target level.

    Args:
        bottom_up: the body.
        in_features: names of its features C3, C4, C5, with strides 8, 16, 32 in this order.
        norm: of every convolution, a name that ``detectron2.layers.get_norm`` accepts. The paper
            uses batch normalization.

    Raises:
        ValueError: ``in_features`` are not C3, C4, C5, or ``num_stacks`` is below 1.
    """

    def __init__(
        self,
        bottom_up: Backbone,
        in_features: Sequence[str],
        out_channels: int,
        num_stacks: int = 7,
        norm: str = "",
    ):
        super().__init__()
        shapes = bottom_up.output_shape()
        strides = [shapes[name].stride if name in shapes else None for name in in_features]
        if tuple(strides) != (8, 16, 32):
            available = {name: shape.stride for name, shape in shapes.items()}
            raise ValueError(
                f"NAS-FPN got in_features {list(in_features)} with strides {strides}; it takes "
                "three features with strides [8, 16, 32], e.g. ['res3', 'res4', 'res5']. "
                f"The body has these strides: {available}."
            )
        if num_stacks < 1:
            raise ValueError(f"NAS-FPN got num_stacks {num_stacks}; expected 1 or more, e.g. 7.")
        self.bottom_up = bottom_up
        self.in_features = tuple(in_features)
        self.laterals = nn.ModuleList(
            neck_conv(Conv2d, shapes[name].channels, out_channels, 1, norm) for name in in_features
        )
        self.stacks = nn.ModuleList(PyramidStack(out_channels, norm) for _ in range(num_stacks))
        self._out_features = list(OUT_STRIDES)
        self._out_feature_strides = dict(OUT_STRIDES)
        self._out_feature_channels = dict.fromkeys(OUT_STRIDES, out_channels)

    @property
    def size_divisibility(self) -> int:
        return OUT_STRIDES["p7"]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map images (N, 3, H, W) to p3 to p7, (N, out_channels, ceil(H / s), ceil(W / s)).

        s = 8, 16, 32, 64, 128; p3 to p5 round as the body does. They end with a norm, not a ReLU.
        """
        features = self.bottom_up(x)
        laterals = zip(self.laterals, self.in_features, strict=True)
        levels = [lateral(features[name]) for lateral, name in laterals]
        for _ in range(2):  # P6 and P7
            levels.append(F.max_pool2d(levels[-1], kernel_size=2, stride=2, ceil_mode=True))
        for stack in self.stacks:
            levels = stack(*levels)
        return dict(zip(OUT_STRIDES, levels, strict=True))


class PyramidStack(nn.Module):
    """The 7 merging cells of NAS-FPN (figure 6; figure 7f), from P3..P7 to new P3..P7.

    Its convolutions (ReLU - 3x3 convolution - norm) are named after their outputs; ``p4_first`` and
    ``p4_second`` are internal. No cell merges the old P5 and P7; they are added to the inputs of
    the new ones.
    """

    def __init__(self, channels: int, norm: str):
        super().__init__()
        conv = partial(neck_conv, ReLUConv2d, channels, channels, 3, norm)
        self.p4_first, self.p4_second = conv(), conv()
        self.p3, self.p4, self.p5, self.p7, self.p6 = (conv() for _ in range(5))

    def forward(self, p3: Tensor, p4: Tensor, p5: Tensor, p6: Tensor, p7: Tensor) -> list[Tensor]:
        """All maps are (N, C, H, W) with the H and W of their level."""
        size3, size4, size5, size6, size7 = (level.shape[-2:] for level in (p3, p4, p5, p6, p7))
        # Cells 1 to 7: each sums two maps, or merges them by global pooling.
        p4_first = self.p4_first(_global_pooling(p6, p4, size4))
        p4_second = self.p4_second(p4_first + p4)
        p3 = self.p3(_resize(p4_second, size3) + p3)
        p4 = self.p4(_resize(p3, size4) + p4_second)
        p5 = self.p5(_global_pooling(p4, p3, size5) + p5)
        p7 = self.p7(_global_pooling(p5, p4_second, size7) + p7)
        p6 = self.p6(_global_pooling(p7, p5, size6))
        return [p3, p4, p5, p6, p7]


class ReLUConv2d(Conv2d):
    """Detectron2's convolution and norm, with a ReLU before instead of after them."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.relu(x))


def neck_conv(
    conv_class: type[Conv2d], in_channels: int, out_channels: int, kernel_size: int, norm: str
) -> Conv2d:
    padding, norm_layer = kernel_size // 2, get_norm(norm, out_channels)
    settings = {"padding": padding, "bias": norm == "", "norm": norm_layer}
    conv = conv_class(in_channels, out_channels, kernel_size, **settings)
    weight_init.c2_xavier_fill(conv)
    return conv


def _global_pooling(coarse: Tensor, fine: Tensor, size: Sequence[int]) -> Tensor:
    """Sum the coarse map and the fine one, which has channel attention (figure 4)."""
    # Resizing repeats pixels or takes maxima, so the maximum is the same before and after it.
    attention = coarse.amax(dim=(2, 3), keepdim=True).sigmoid()
    return _resize(coarse, size) + attention * _resize(fine, size)


def _resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """Resize to ``size``, (height, width), by nearest upsampling or max pooling."""
    (height, width), (out_height, out_width) = x.shape[-2:], size
    if (height, width) == (out_height, out_width):
        return x
    if height <= out_height and width <= out_width:
        return F.interpolate(x, size=(out_height, out_width), mode="nearest")
    if height % out_height == 0 and width % out_width == 0:
        # Same as adaptive pooling, which has no deterministic gradient on GPUs in PyTorch.
        return F.max_pool2d(x, kernel_size=(height // out_height, width // out_width))
    return F.adaptive_max_pool2d(x, (out_height, out_width))
