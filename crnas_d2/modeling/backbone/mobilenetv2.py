"""MobileNetV2 (Sandler et al., CVPR 2018): CR-NAS's supernets and every fixed subnet of them."""

from collections.abc import Mapping, Sequence
from functools import partial

import fvcore.nn.weight_init as weight_init
import torch.nn.functional as F
from detectron2.layers import CNNBlockBase, Conv2d, ShapeSpec, get_norm
from detectron2.modeling.backbone.backbone import Backbone
from torch import Tensor, nn

from crnas_d2.layers import ChoiceBlock, resolve_norm, set_dilation
from crnas_d2.modeling.supernet import Supernet
from crnas_d2.space import DILATIONS, SearchSpace, build_family

from .stages import StageBuilder, check_supernet, new_stage_builder

__all__ = [
    "ConvReLU6",
    "InvertedResidual",
    "MobileNetV2",
    "SupernetMobileNetV2",
    "build_mobilenetv2",
]

STEM_CHANNELS, TAIL_CHANNELS = 32, 1280
# Table 2 of the paper: by stage, the expansion of its blocks, their output channels, and the
# stride of the first block.
STAGES = {
    "c16": (1, 16, 1),
    "c24": (6, 24, 2),
    "c32": (6, 32, 2),
    "c64": (6, 64, 2),
    "c96": (6, 96, 1),
    "c160": (6, 160, 2),
    "c320": (6, 320, 1),
}
# The stages that lead from one output to the next; an output is that of the last one. They have
# ResNet's names, so that necks and heads are configured alike.
OUTPUTS = {
    "res2": ("c16", "c24"),
    "res3": ("c32",),
    "res4": ("c64", "c96"),
    "res5": ("c160", "c320", "tail"),
}


class ConvReLU6(CNNBlockBase):
    """A convolution with norm and ReLU6: the stem (3x3, stride 2) and the tail (1x1)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        norm: str = "BN",
    ):
        super().__init__(in_channels, out_channels, stride)
        self.conv1 = _conv(in_channels, out_channels, kernel_size, norm, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, in_channels, H, W)`` to ``(N, out_channels, H / stride, W / stride)``."""
        return F.relu6(self.conv1(x), inplace=True)


class InvertedResidual(CNNBlockBase):
    """The block of MobileNetV2 (table 1 and figure 4d).

    ``conv1`` (1x1, ReLU6) widens the input, ``conv2`` (3x3 depthwise, ReLU6) has the stride and
    the dilation, ``conv3`` (1x1) makes the output and is linear. The input is added to it where
    they have one shape.

    Args:
        expansion: width inside the block over ``in_channels``; with 1 there is no ``conv1``.
        norm: of every convolution, a name that ``detectron2.layers.get_norm`` knows.
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
        self.conv1 = None if expansion == 1 else _conv(in_channels, channels, 1, norm)
        self.conv2 = _conv(channels, channels, 3, norm, stride=stride, groups=channels)
        self.conv3 = _conv(channels, out_channels, 1, norm)
        self.is_residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """``(N, in_channels, H, W)`` to ``(N, out_channels, H / stride, W / stride)``."""
        out = x if self.conv1 is None else F.relu6(self.conv1(x), inplace=True)
        out = F.relu6(self.conv2(out), inplace=True)
        out = self.conv3(out)
        return x + out if self.is_residual else out


class MobileNetV2(Backbone):
    """The body of MobileNetV2, its 1x1 convolution to 1280 channels included.

    Outputs, of full width: ``res2`` (24 channels, stride 4), ``res3`` (32, 8), ``res4`` (96, 16)
    and ``res5`` (1280, 32), the ends of the stages ``c24``, ``c32``, ``c96`` and ``tail``. Stages
    that no output needs are left out. The blocks are named after stages and places, e.g.
    ``c24.0``.

    Args:
        stem: the first convolution.
        stages: by name, the blocks of ``c16`` to ``c320`` and ``tail``.
        out_features: the outputs, of ``res2`` to ``res5``.
        freeze_at: how many parts of the network to freeze, as in Detectron2's ResNet: 1 for the
            stem, 2 for all up to ``res2``, 3 for all up to ``res3`` and so on.
    """

    def __init__(
        self,
        stem: CNNBlockBase,
        stages: Mapping[str, Sequence[CNNBlockBase]],
        out_features: Sequence[str] = tuple(OUTPUTS),
        freeze_at: int = 0,
    ):
        super().__init__()
        assert out_features and set(out_features) <= set(OUTPUTS), out_features
        self.stem = stem
        self._out_features = list(out_features)
        self._out_feature_strides, self._out_feature_channels = {}, {}
        # A stage that no output needs would take memory and, in DistributedDataParallel, wait for
        # gradients that never come.
        self.parts = tuple(OUTPUTS)[: 1 + max(map(list(OUTPUTS).index, out_features))]
        stride = stem.stride
        for part in self.parts:
            for name in OUTPUTS[part]:
                self.add_module(name, nn.Sequential(*stages[name]))
                for block in stages[name]:
                    stride *= block.stride
            self._out_feature_strides[part] = stride
            self._out_feature_channels[part] = stages[name][-1].out_channels
        self.freeze(freeze_at)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """
        Args:
            x: images, (N, C, H, W).

        Returns:
            by output, (N, channels, ceil(H / stride), ceil(W / stride)).
        """
        outputs = {}
        x = self.stem(x)
        for part in self.parts:
            for name in OUTPUTS[part]:
                x = getattr(self, name)(x)
            if part in self._out_features:
                outputs[part] = x
        return outputs

    def freeze(self, freeze_at: int = 0) -> "MobileNetV2":
        """Makes the first parts untrainable, their BN included; see the class."""
        if freeze_at >= 1:
            self.stem.freeze()
        for index, part in enumerate(self.parts, start=2):
            if freeze_at >= index:
                for name in OUTPUTS[part]:
                    for block in getattr(self, name).children():
                        block.freeze()
        return self


class SupernetMobileNetV2(MobileNetV2, Supernet):
    """A MobileNetV2 some of whose blocks are :class:`ChoiceBlock`.

    Args:
        stem, stages, out_features: as in :class:`MobileNetV2`.
        space, choice_blocks: see :meth:`Supernet.init_supernet`.
    """

    def __init__(
        self,
        stem: CNNBlockBase,
        stages: Mapping[str, Sequence[CNNBlockBase]],
        space: SearchSpace,
        choice_blocks: Mapping[str, ChoiceBlock],
        out_features: Sequence[str] = tuple(OUTPUTS),
    ):
        super().__init__(stem, stages, out_features=out_features)
        self.init_supernet(space, choice_blocks)


def build_mobilenetv2(cfg, input_shape: ShapeSpec) -> Backbone:
    """Builds the supernet, or the one subnet that the config fixes.

    Width and norm are the ``MODEL.MOBILENETV2.*`` keys; no key of ``MODEL.RESNETS`` is read. What
    varies is ``MODEL.SUPERNET.SPACE``, unless ``PATH_SAMPLER`` is ``fixed``; see
    :func:`crnas_d2.space.build_genotype` for the one network.

    Raises:
        ValueError: a setting that this backbone cannot honour.
    """
    mobilenet = cfg.MODEL.MOBILENETV2
    _check_config(mobilenet)
    check_supernet(cfg, "MODEL.MOBILENETV2.NORM", mobilenet.NORM)
    build_stage = new_stage_builder(cfg)
    _check_single_layers(build_stage, build_family(cfg).stages)

    norm = resolve_norm(mobilenet.NORM, cfg.MODEL.DEVICE)
    width = mobilenet.WIDTH_MULT
    in_channels = _rounded(STEM_CHANNELS * width)
    stem = ConvReLU6(input_shape.channels, in_channels, stride=2, norm=norm)
    stages = {}
    for name, (expansion, channels, stride) in STAGES.items():
        make = partial(
            make_blocks,
            in_channels=in_channels,
            out_channels=_rounded(channels * width),
            stride=stride,
            expansion=expansion,
            norm=norm,
        )
        stages[name] = build_stage(name, make)
        in_channels = stages[name][-1].out_channels
    # The last convolution is not narrowed (section 4 of the paper).
    tail_channels = _rounded(TAIL_CHANNELS * max(1.0, width))
    stages["tail"] = [ConvReLU6(in_channels, tail_channels, kernel_size=1, norm=norm)]

    out_features = mobilenet.OUT_FEATURES
    if build_stage.space is not None:
        return SupernetMobileNetV2(
            stem, stages, build_stage.space, build_stage.choice_blocks, out_features
        )
    return MobileNetV2(stem, stages, out_features, freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT)


def make_blocks(
    ops: Sequence[int], in_channels: int, out_channels: int, stride: int, expansion: int, norm: str
) -> list[CNNBlockBase]:
    """The plain blocks of one stage.

    Args:
        ops: of each block, the index of its dilation.
        stride: of the first block.
        expansion, norm: see :class:`InvertedResidual`.
    """
    blocks = []
    for op in ops:
        block = InvertedResidual(in_channels, out_channels, stride, expansion, norm)
        set_dilation(block, DILATIONS[op])
        blocks.append(block)
        in_channels, stride = out_channels, 1
    return blocks


def _conv(
    in_channels: int, out_channels: int, kernel_size: int, norm: str, stride: int = 1, groups=1
) -> Conv2d:
    conv = Conv2d(
        in_channels,
        out_channels,
        kernel_size=kernel_size,
        stride=stride,
        padding=kernel_size // 2,
        groups=groups,
        bias=False,
        norm=get_norm(norm, out_channels),
    )
    # Kaiming normal over the fan-out (He et al. 2015), as in torchvision's MobileNetV2.
    weight_init.c2_msra_fill(conv)
    return conv


def _rounded(channels: float) -> int:
    """The nearest multiple of 8 that is not below 90% (torchvision's ``_make_divisible``)."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def _check_config(mobilenet) -> None:
    if mobilenet.WIDTH_MULT <= 0:
        raise ValueError(
            f"MODEL.MOBILENETV2.WIDTH_MULT is {mobilenet.WIDTH_MULT}; expected a positive factor, "
            "1.0 for the published channels."
        )
    features = list(mobilenet.OUT_FEATURES)
    if not features or not set(features) <= set(OUTPUTS):
        raise ValueError(
            f"MODEL.MOBILENETV2.OUT_FEATURES is {features}; expected one or more of "
            f"{', '.join(OUTPUTS)}: all four for a detector with FPN, [res5] for a classifier."
        )


def _check_single_layers(build_stage: StageBuilder, stages: Sequence[str]) -> None:
    """Refuses numbers of blocks that the stages of a single convolution cannot have."""
    for stage in stages:
        if stage in STAGES:
            continue
        if f"{stage}.depth" in build_stage.options:
            key, depths = "MODEL.SUPERNET.STAGE_OPTIONS", build_stage.options[f"{stage}.depth"]
        else:
            key, depths = "MODEL.GENOTYPE.DEPTHS", (len(build_stage.ops[stage]),)
        if depths != (1,):
            raise ValueError(
                f"{key} gives the stage '{stage}' {' or '.join(map(str, depths))} blocks, but it "
                f"is a single convolution. The stages are {', '.join(stages)}; set the number of "
                f"'{stage}' to 1."
            )
