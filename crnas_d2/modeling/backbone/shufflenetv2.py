"""ShuffleNetV2 (Ma et al., ECCV 2018): DetNAS's supernets and every fixed subnet of them."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial

import fvcore.nn.weight_init as weight_init
import torch
import torch.nn.functional as F
from detectron2.layers import CNNBlockBase, Conv2d, ShapeSpec, get_norm
from detectron2.modeling.backbone.backbone import Backbone
from torch import Tensor, nn

from crnas_d2.layers import ChoiceBlock, resolve_norm
from crnas_d2.modeling.supernet import Supernet
from crnas_d2.space import FAMILIES, SearchSpace

from .stages import check_supernet, new_stage_builder

__all__ = [
    "ConvReLU",
    "ShuffleBlock",
    "ShuffleNetV2",
    "SupernetShuffleNetV2",
    "XceptionBlock",
    "build_shufflenetv2",
]

FAMILY = FAMILIES["shufflenetv2"]
# DetNAS, table 2: by number of blocks, the channels of the stem and of the four stages.
CHANNELS = {20: (16, 64, 160, 320, 640), 40: (48, 96, 240, 480, 960)}
# The convolution before the classifier's linear layer, in both search spaces of DetNAS.
HEAD_CHANNELS = 1024
OUTPUTS = (*FAMILY.stages, "head")


class ConvReLU(CNNBlockBase):
    """A convolution with norm and ReLU: the stem (3x3, stride 2) and the head (1x1)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        norm: str = "BN",
    ):
        super().__init__(in_channels, out_channels, stride)
        self.conv1 = _conv(in_channels, out_channels, kernel_size, norm, stride, activation=F.relu_)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, in_channels, H, W)`` to ``(N, out_channels, H / stride, W / stride)``."""
        return self.conv1(x)


class _TwoBranchBlock(CNNBlockBase):
    """One part of the output comes from a branch of convolutions, the other one passes it by.

    Stride 1 (figure 3c of the paper): half of the input passes unchanged, the other half goes
    through the branch. Stride 2 (figure 3d): the whole input goes through the branch, which makes
    the channels that are new, and through ``projection``, which keeps their number.

    Where the paper splits the channels in the middle and shuffles the output, the block takes the
    even places of its input past the branch and the odd ones through it, as in the authors' code
    of DetNAS: the next block mixes both parts in the same way, and nothing has to be moved.

    Args:
        kernel_size: of the projection's depthwise convolution.
        norm: of every convolution, a name that ``detectron2.layers.get_norm`` knows.
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
        """The convolutions of the branch, in order; one of them has the stride of the block."""

    def forward(self, x: Tensor) -> Tensor:
        """``(N, in_channels, H, W)`` to ``(N, out_channels, H / stride, W / stride)``."""
        if self.projection is None:
            passing, x = x[:, 0::2], x[:, 1::2]
        else:
            passing = self.projection(x)
        return torch.cat([passing, self.branch(x)], dim=1)


class ShuffleBlock(_TwoBranchBlock):
    """The block of ShuffleNetV2, with any kernel: DetNAS's operations 0, 1 and 2.

    Its branch: 1x1 (ReLU), depthwise (linear, has the stride), 1x1 (ReLU). The width inside is
    half of ``out_channels``.

    Args:
        in_channels, out_channels: equal for stride 1; else more come out than go in.
        kernel_size: of the depthwise convolutions.
        norm: of every convolution, a name that ``detectron2.layers.get_norm`` knows.
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
            _conv(in_channels, middle_channels, 1, norm, activation=F.relu_),
            *_separable(middle_channels, out_channels, kernel_size, norm, self.stride),
        ]


class XceptionBlock(_TwoBranchBlock):
    """DetNAS's operation 3: three separable convolutions 3x3, of which the first has the stride.

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


# By operation, in the order of FAMILY.operations.
BLOCKS = (
    partial(ShuffleBlock, kernel_size=3),
    partial(ShuffleBlock, kernel_size=5),
    partial(ShuffleBlock, kernel_size=7),
    XceptionBlock,
)


class ShuffleNetV2(Backbone):
    """The body of ShuffleNetV2 in the form of DetNAS (table 2).

    Outputs: ``res2`` to ``res5``, of strides 4, 8, 16 and 32, and ``head``, which only a
    classifier needs. What follows the last output is left out.

    Args:
        stem: the first convolution, of stride 2.
        stages: by name, the blocks of ``res2`` to the last stage that is needed.
        out_features: the outputs, of ``res2`` to ``res5`` and ``head``.
        freeze_at: how many parts of the network to freeze, as in Detectron2's ResNet: 1 for the
            stem, 2 for all up to ``res2``, 3 for all up to ``res3`` and so on.
    """

    def __init__(
        self,
        stem: CNNBlockBase,
        stages: Mapping[str, Sequence[CNNBlockBase]],
        out_features: Sequence[str] = FAMILY.stages,
        freeze_at: int = 0,
    ):
        super().__init__()
        assert out_features and set(out_features) <= set(OUTPUTS), out_features
        self.stem = stem
        self._out_features = list(out_features)
        self._out_feature_strides, self._out_feature_channels = {}, {}
        self.parts = _needed(out_features)
        stride = stem.stride
        for name in self.parts:
            self.add_module(name, nn.Sequential(*stages[name]))
            for block in stages[name]:
                stride *= block.stride
            self._out_feature_strides[name] = stride
            self._out_feature_channels[name] = stages[name][-1].out_channels
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
        for name in self.parts:
            x = getattr(self, name)(x)
            if name in self._out_features:
                outputs[name] = x
        return outputs

    def freeze(self, freeze_at: int = 0) -> "ShuffleNetV2":
        """Makes the first parts untrainable, their BN included; see the class."""
        if freeze_at >= 1:
            self.stem.freeze()
        for index, name in enumerate(self.parts, start=2):
            if freeze_at >= index:
                for block in getattr(self, name).children():
                    block.freeze()
        return self


class SupernetShuffleNetV2(ShuffleNetV2, Supernet):
    """A ShuffleNetV2 some of whose blocks are :class:`ChoiceBlock`.

    Args:
        stem, stages, out_features: as in :class:`ShuffleNetV2`.
        space, choice_blocks: see :meth:`Supernet.init_supernet`.
    """

    def __init__(
        self,
        stem: CNNBlockBase,
        stages: Mapping[str, Sequence[CNNBlockBase]],
        space: SearchSpace,
        choice_blocks: Mapping[str, ChoiceBlock],
        out_features: Sequence[str] = FAMILY.stages,
    ):
        super().__init__(stem, stages, out_features=out_features)
        self.init_supernet(space, choice_blocks)


def build_shufflenetv2(cfg, input_shape: ShapeSpec) -> Backbone:
    """Builds the supernet, or the one subnet that the config fixes.

    Channels and norm are the ``MODEL.SHUFFLENETV2.*`` keys; no key of ``MODEL.RESNETS`` is read.
    What varies is ``MODEL.SUPERNET.SPACE``, unless ``PATH_SAMPLER`` is ``fixed``; see
    :func:`crnas_d2.space.build_genotype` for the one network.

    Raises:
        ValueError: a setting that this backbone cannot honour.
    """
    shufflenet = cfg.MODEL.SHUFFLENETV2
    _check_outputs(shufflenet.OUT_FEATURES)
    check_supernet(cfg, "MODEL.SHUFFLENETV2.NORM", shufflenet.NORM)
    build_stage = new_stage_builder(cfg)
    depths = tuple(len(build_stage.ops[stage]) for stage in FAMILY.stages)
    stem_channels, *stage_channels = _channels(shufflenet, depths)

    norm = resolve_norm(shufflenet.NORM, cfg.MODEL.DEVICE)
    stem = ConvReLU(input_shape.channels, stem_channels, stride=2, norm=norm)
    stages, in_channels = {}, stem_channels
    needed = _needed(shufflenet.OUT_FEATURES)
    # Without strict: the head is no stage, and what follows the last output is not built.
    for name, out_channels in zip(needed, stage_channels, strict=False):
        make = partial(make_blocks, in_channels=in_channels, out_channels=out_channels, norm=norm)
        stages[name] = build_stage(name, make)
        in_channels = out_channels
    if "head" in needed:
        stages["head"] = [ConvReLU(in_channels, HEAD_CHANNELS, kernel_size=1, norm=norm)]

    out_features = shufflenet.OUT_FEATURES
    if build_stage.space is not None:
        return SupernetShuffleNetV2(
            stem, stages, build_stage.space, build_stage.choice_blocks, out_features
        )
    return ShuffleNetV2(stem, stages, out_features, freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT)


def make_blocks(
    ops: Sequence[int], in_channels: int, out_channels: int, norm: str
) -> list[CNNBlockBase]:
    """The plain blocks of one stage, of which the first one has stride 2.

    Args:
        ops: of each block, the index of its operation.
        norm: see :class:`ShuffleBlock`.
    """
    blocks, stride = [], 2
    for op in ops:
        blocks.append(BLOCKS[op](in_channels, out_channels, stride, norm=norm))
        in_channels, stride = out_channels, 1
    return blocks


def _needed(out_features: Sequence[str]) -> tuple[str, ...]:
    """The parts of the network up to the last output.

    Any other would take memory and, in DistributedDataParallel, wait for gradients that never come.
    """
    return OUTPUTS[: 1 + max(map(OUTPUTS.index, out_features))]


def _separable(
    in_channels: int, out_channels: int, kernel_size: int, norm: str, stride: int = 1
) -> list[Conv2d]:
    """A depthwise convolution, linear, and a 1x1 with ReLU."""
    return [
        _conv(in_channels, in_channels, kernel_size, norm, stride, groups=in_channels),
        _conv(in_channels, out_channels, 1, norm, activation=F.relu_),
    ]


def _conv(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    norm: str,
    stride: int = 1,
    groups: int = 1,
    activation=None,
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
        activation=activation,
    )
    # Kaiming normal over the fan-out (He et al. 2015), as Detectron2's ResNet.
    weight_init.c2_msra_fill(conv)
    return conv


def _check_outputs(out_features: Sequence[str]) -> None:
    features = list(out_features)
    if not features or not set(features) <= set(OUTPUTS):
        raise ValueError(
            f"MODEL.SHUFFLENETV2.OUT_FEATURES is {features}; expected one or more of "
            f"{', '.join(OUTPUTS)}: res2 to res5 for a detector with FPN, [head] for a classifier."
        )


def _channels(shufflenet, depths: tuple[int, ...]) -> tuple[int, ...]:
    """Those of the stem and of the four stages: ``CHANNELS``, else the published ones."""
    channels = tuple(shufflenet.CHANNELS)
    if not channels:
        return _published_channels(shufflenet.DEPTH, depths)
    if len(channels) != 5 or not all(type(number) is int and number >= 1 for number in channels):
        raise ValueError(
            f"MODEL.SHUFFLENETV2.CHANNELS is {list(channels)}; expected five positive whole "
            f"numbers, of the stem and of {', '.join(FAMILY.stages)}, e.g. {list(CHANNELS[20])}."
        )
    if any(number % 2 for number in channels[1:]):
        raise ValueError(
            f"MODEL.SHUFFLENETV2.CHANNELS is {list(channels)}; the channels of a stage are split "
            "into halves, so every number after the first, the stem's, must be even."
        )
    if sorted(set(channels)) != list(channels):
        raise ValueError(
            f"MODEL.SHUFFLENETV2.CHANNELS is {list(channels)}; the first block of a stage adds "
            "channels to those of its input, so every number must be larger than the one before."
        )
    return channels


def _published_channels(depth: int, depths: tuple[int, ...]) -> tuple[int, ...]:
    if depth not in CHANNELS:
        raise ValueError(
            f"MODEL.SHUFFLENETV2.DEPTH is {depth}; published channels: those of "
            f"{', '.join(map(str, CHANNELS))} blocks. Set MODEL.SHUFFLENETV2.CHANNELS for others."
        )
    for blocks, published in FAMILY.baseline_depths.items():
        if depths == published and blocks != depth:
            raise ValueError(
                f"MODEL.GENOTYPE.DEPTHS is {list(depths)}, the {blocks} blocks of another search "
                f"space than MODEL.SHUFFLENETV2.DEPTH, {depth}. Set DEPTH to {blocks} for its "
                f"channels, {list(CHANNELS[blocks])}, or name others in CHANNELS."
            )
    return CHANNELS[depth]
