"""ShuffleNetV2 (Ma et al., ECCV 2018): DetNAS's supernets and every fixed subnet of them."""

from collections.abc import Sequence
from functools import partial

from detectron2.layers import CNNBlockBase, ShapeSpec
from detectron2.modeling.backbone.backbone import Backbone

from crnas_d2.layers import ConvBlock, ShuffleBlock, XceptionBlock, resolve_norm
from crnas_d2.modeling.supernet import Supernet
from crnas_d2.space import FAMILIES

from .staged_body import StagedBody, check_outputs, needed_outputs
from .stages import check_supernet, new_stage_builder

__all__ = ["ShuffleNetV2", "SupernetShuffleNetV2", "build_shufflenetv2"]

FAMILY = FAMILIES["shufflenetv2"]
# DetNAS, table 2: by number of blocks, the channels of the stem and of the four stages.
CHANNELS = {20: (16, 64, 160, 320, 640), 40: (48, 96, 240, 480, 960)}
# The convolution before the classifier's linear layer, in both search spaces of DetNAS.
HEAD_CHANNELS = 1024
OUTPUTS = {name: (name,) for name in (*FAMILY.stages, "head")}
# By operation, in the order of FAMILY.operations.
BLOCKS = (
    partial(ShuffleBlock, kernel_size=3),
    partial(ShuffleBlock, kernel_size=5),
    partial(ShuffleBlock, kernel_size=7),
    XceptionBlock,
)


class ShuffleNetV2(StagedBody):
    """The body of ShuffleNetV2 in the form of DetNAS (table 2).

    Outputs: ``res2`` to ``res5``, of strides 4, 8, 16 and 32, and ``head``, which only a
    classifier needs.
    """

    outputs = OUTPUTS


class SupernetShuffleNetV2(Supernet, ShuffleNetV2):
    """A ShuffleNetV2 some of whose blocks are choice blocks."""


def build_shufflenetv2(cfg, input_shape: ShapeSpec) -> Backbone:
    """Builds the supernet, or the one subnet that the config fixes.

    Channels and norm are the ``MODEL.SHUFFLENETV2.*`` keys; no key of ``MODEL.RESNETS`` is read.
    What varies is ``MODEL.SUPERNET.SPACE``, unless ``PATH_SAMPLER`` is ``fixed``; see
    :func:`crnas_d2.space.build_genotype` for the one network.

    Raises:
        ValueError: a setting that this backbone cannot honour.
    """
    shufflenet = cfg.MODEL.SHUFFLENETV2
    check_outputs("MODEL.SHUFFLENETV2.OUT_FEATURES", shufflenet.OUT_FEATURES, OUTPUTS)
    check_supernet(cfg, "MODEL.SHUFFLENETV2.NORM", shufflenet.NORM)
    build_stage = new_stage_builder(cfg)
    depths = tuple(len(build_stage.ops[stage]) for stage in FAMILY.stages)
    stem_channels, *stage_channels = _channels(shufflenet, depths)

    norm = resolve_norm(shufflenet.NORM, cfg.MODEL.DEVICE)
    stem = ConvBlock(input_shape.channels, stem_channels, stride=2, norm=norm)
    stages, in_channels = {}, stem_channels
    needed = needed_outputs(OUTPUTS, shufflenet.OUT_FEATURES)
    # Without strict: the head is no stage, and what follows the last output is not built.
    for name, out_channels in zip(needed, stage_channels, strict=False):
        make = partial(make_blocks, in_channels=in_channels, out_channels=out_channels, norm=norm)
        stages[name] = build_stage(name, make)
        in_channels = out_channels
    if "head" in needed:
        stages["head"] = [ConvBlock(in_channels, HEAD_CHANNELS, kernel_size=1, norm=norm)]

    body = {"stem": stem, "stages": stages, "out_features": shufflenet.OUT_FEATURES}
    if build_stage.space is None:
        return ShuffleNetV2(**body, freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT)
    return SupernetShuffleNetV2(
        **body, space=build_stage.space, choice_blocks=build_stage.choice_blocks
    )


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
