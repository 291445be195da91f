"""MobileNetV2 (Sandler et al., CVPR 2018): CR-NAS's supernets and every fixed subnet of them."""

from collections.abc import Sequence
from functools import partial

from detectron2.layers import CNNBlockBase, ShapeSpec
from detectron2.modeling.backbone.backbone import Backbone

from crnas_d2.layers import ConvBlock, InvertedResidual, relu6_, resolve_norm, set_dilation
from crnas_d2.modeling.supernet import Supernet
from crnas_d2.space import DILATIONS, build_family

from .staged_body import StagedBody, check_outputs
from .stages import StageBuilder, check_supernet, new_stage_builder

__all__ = ["MobileNetV2", "SupernetMobileNetV2", "build_mobilenetv2"]

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
# The stages that lead from one output to the next; an output is that of the last one.
OUTPUTS = {
    "res2": ("c16", "c24"),
    "res3": ("c32",),
    "res4": ("c64", "c96"),
    "res5": ("c160", "c320", "tail"),
}


class MobileNetV2(StagedBody):
    """The body of MobileNetV2, its 1x1 convolution to 1280 channels included.

    Outputs, of full width: ``res2`` (24 channels, stride 4), ``res3`` (32, 8), ``res4`` (96, 16)
    and ``res5`` (1280, 32), the ends of the stages ``c24``, ``c32``, ``c96`` and ``tail``.
    """

    outputs = OUTPUTS


class SupernetMobileNetV2(Supernet, MobileNetV2):
    """A MobileNetV2 some of whose blocks are choice blocks."""


def build_mobilenetv2(cfg, input_shape: ShapeSpec) -> Backbone:
    """Builds the supernet, or the one subnet that the config fixes.

    Width and norm are the ``MODEL.MOBILENETV2.*`` keys; no key of ``MODEL.RESNETS`` is read. What
    varies is ``MODEL.SUPERNET.SPACE``, unless ``PATH_SAMPLER`` is ``fixed``; see
    :func:`crnas_d2.space.build_genotype` for the one network.

    Raises:
        ValueError: a setting that this backbone cannot honour.
    """
    mobilenet = cfg.MODEL.MOBILENETV2
    if mobilenet.WIDTH_MULT <= 0:
        raise ValueError(
            f"MODEL.MOBILENETV2.WIDTH_MULT is {mobilenet.WIDTH_MULT}; expected a positive factor, "
            "1.0 for the published channels."
        )
    check_outputs("MODEL.MOBILENETV2.OUT_FEATURES", mobilenet.OUT_FEATURES, OUTPUTS)
    check_supernet(cfg, "MODEL.MOBILENETV2.NORM", mobilenet.NORM)
    build_stage = new_stage_builder(cfg)
    _check_single_layers(build_stage, build_family(cfg).stages)

    norm = resolve_norm(mobilenet.NORM, cfg.MODEL.DEVICE)
    width = mobilenet.WIDTH_MULT
    in_channels = _rounded(STEM_CHANNELS * width)
    stem = ConvBlock(input_shape.channels, in_channels, stride=2, norm=norm, activation=relu6_)
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
    stages["tail"] = [ConvBlock(in_channels, tail_channels, 1, norm=norm, activation=relu6_)]

    body = {"stem": stem, "stages": stages, "out_features": mobilenet.OUT_FEATURES}
    if build_stage.space is None:
        return MobileNetV2(**body, freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT)
    return SupernetMobileNetV2(
        **body, space=build_stage.space, choice_blocks=build_stage.choice_blocks
    )


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


def _rounded(channels: float) -> int:
    """The nearest multiple of 8 that is not below 90% (torchvision's ``_make_divisible``)."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


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
