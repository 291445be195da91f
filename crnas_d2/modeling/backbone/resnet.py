"""ResNet and ResNeXt: the supernets of CR-NAS and every fixed subnet of them."""

from collections.abc import Sequence
from functools import partial

from detectron2.layers import CNNBlockBase, ShapeSpec
from detectron2.modeling.backbone.backbone import Backbone
from detectron2.modeling.backbone.resnet import BasicBlock, BasicStem, BottleneckBlock, ResNet

from crnas_d2.layers import resolve_norm, set_dilation
from crnas_d2.modeling.supernet import Supernet
from crnas_d2.space import DILATIONS, build_family

from .channels import check_channels, new_channel_builder
from .stages import check_supernet, new_stage_builder

__all__ = ["SupernetResNet", "build_resnet"]


class SupernetResNet(Supernet, ResNet):
    """A Detectron2 ResNet some of whose blocks are choice blocks."""


def build_resnet(cfg, input_shape: ShapeSpec) -> Backbone:
    """Builds the supernet, or the one subnet that the config fixes.

    Widths and block type are Detectron2's ``MODEL.RESNETS.*`` keys: a ``DEPTH`` of 18 or 34
    stands for BasicBlock, any other for Bottleneck. What varies is ``MODEL.SUPERNET.SPACE``,
    unless ``PATH_SAMPLER`` is ``fixed``; see :func:`crnas_d2.space.build_genotype` for the one
    network. A fixed network is a plain Detectron2 ResNet with the parameter names of Detectron2's
    model zoo; the channel space and its genotypes replace one convolution in some of its blocks.

    Raises:
        ValueError: a setting that this backbone cannot honour.
    """
    resnets = cfg.MODEL.RESNETS
    if resnets.RES5_DILATION != 1 or any(resnets.DEFORM_ON_PER_STAGE):
        raise ValueError(
            "The supernet builders have no RES5_DILATION and no deformable convolution; reset "
            "MODEL.RESNETS.RES5_DILATION and DEFORM_ON_PER_STAGE."
        )
    check_supernet(cfg, "MODEL.RESNETS.NORM", resnets.NORM)
    check_channels(cfg)
    norm = resolve_norm(resnets.NORM, cfg.MODEL.DEVICE)
    stem = BasicStem(input_shape.channels, resnets.STEM_OUT_CHANNELS, norm)
    in_channels, out_channels = resnets.STEM_OUT_CHANNELS, resnets.RES2_OUT_CHANNELS
    bottleneck_channels = resnets.NUM_GROUPS * resnets.WIDTH_PER_GROUP
    build_stage, change_channels = new_stage_builder(cfg), new_channel_builder(cfg)
    stages = []
    for index, name in enumerate(build_family(cfg).stages):
        block_args = {"in_channels": in_channels, "out_channels": out_channels, "norm": norm}
        if resnets.DEPTH in (18, 34):
            block_args["block_class"] = BasicBlock
        else:
            block_args.update(
                block_class=BottleneckBlock,
                bottleneck_channels=bottleneck_channels,
                num_groups=resnets.NUM_GROUPS,
                stride_in_1x1=resnets.STRIDE_IN_1X1,
            )
        block_args["stride"] = 1 if index == 0 else 2
        stages.append(build_stage(name, partial(make_blocks, **block_args)))
        change_channels(name, stages[-1])
        in_channels = out_channels
        out_channels, bottleneck_channels = out_channels * 2, bottleneck_channels * 2

    body = {"stem": stem, "stages": stages, "out_features": resnets.OUT_FEATURES}
    if build_stage.space is None:
        return ResNet(**body, freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT)
    return SupernetResNet(**body, space=build_stage.space, choice_blocks=build_stage.choice_blocks)


def make_blocks(ops: Sequence[int], stride: int, **block_args) -> list[CNNBlockBase]:
    """The plain blocks of one stage.

    Args:
        ops: of each block, the index of its dilation.
        stride: of the first block.
        block_args: see :meth:`detectron2.modeling.ResNet.make_stage`.
    """
    strides = [stride] + [1] * (len(ops) - 1)
    blocks = ResNet.make_stage(num_blocks=len(ops), stride_per_block=strides, **block_args)
    for block, op in zip(blocks, ops, strict=True):
        set_dilation(block, DILATIONS[op])
    return blocks
