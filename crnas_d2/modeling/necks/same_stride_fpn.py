"""FPN on a body of which several stages have the same stride."""

from collections.abc import Sequence

import torch.nn.functional as F
from detectron2.layers import Conv2d, ShapeSpec
from detectron2.modeling import Backbone
from torch import Tensor, nn

from .nas_fpn import neck_conv


class SameStrideFPN(Backbone):
    """FPN (Lin et al. 2017) as DetNet uses it (Li et al. 2018, section 3.2).

    Between two stages of the same stride the coarser map is added as it is; Detectron2's FPN
    requires that each stage has twice the stride of the one before. ``p2`` to ``p6`` are those of
    the stages ``res2`` to ``res6``.

    Args:
        in_features: of the outputs of the body, from the highest resolution to the lowest.
        norm: of each convolution, a name that ``detectron2.layers.get_norm`` accepts.
    """

    def __init__(
        self, *, bottom_up: Backbone, in_features: Sequence[str], out_channels: int, norm: str = ""
    ):
        super().__init__()
        shapes = bottom_up.output_shape()
        self.bottom_up = bottom_up
        self.in_features = tuple(in_features)
        self.lateral, self.output = nn.ModuleDict(), nn.ModuleDict()
        self._shapes = {}
        for name in self.in_features:
            self.lateral[name] = neck_conv(Conv2d, shapes[name].channels, out_channels, 1, norm)
            self.output[name] = neck_conv(Conv2d, out_channels, out_channels, 3, norm)
            level = name.replace("res", "p")
            self._shapes[level] = ShapeSpec(channels=out_channels, stride=shapes[name].stride)

    @property
    def size_divisibility(self) -> int:
        return max(shape.stride for shape in self._shapes.values())

    def output_shape(self) -> dict[str, ShapeSpec]:
        return self._shapes

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map images (N, C, H, W) to ``p2`` and so on, (N, out_channels, H / stride, W / stride).

        H and W are multiples of the largest stride.
        """
        features, found, above = self.bottom_up(x), {}, None
        for name in reversed(self.in_features):
            lateral = self.lateral[name](features[name])
            if above is not None:
                lateral = lateral + F.interpolate(above, size=lateral.shape[-2:], mode="nearest")
            above = lateral
            found[name.replace("res", "p")] = self.output[name](above)
        return {level: found[level] for level in self._shapes}
