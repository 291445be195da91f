"""ResNet and ResNeXt: the supernet of CR-NAS's stage space and every fixed subnet of it."""

from collections.abc import Sequence

from detectron2.layers import CNNBlockBase, ShapeSpec
from detectron2.modeling.backbone.backbone import Backbone
from detectron2.modeling.backbone.resnet import BasicBlock, BasicStem, BottleneckBlock, ResNet

from crnas_d2.layers import BranchDepthChoice, ChoiceBlock, PrefixDepthChoice, resolve_norm
from crnas_d2.modeling.supernet import Supernet
from crnas_d2.space import (
    SearchSpace,
    build_family,
    build_genotype,
    build_search_space,
    is_supernet,
)

__all__ = ["SupernetResNet", "build_resnet", "fixed_depths"]

SHARINGS = ("none", "prefix")


class SupernetResNet(ResNet, Supernet):
    """A Detectron2 ResNet some of whose stages are a single :class:`ChoiceBlock`."""

    def __init__(
        self,
        stem: CNNBlockBase,
        stages: Sequence[Sequence[CNNBlockBase]],
        space: SearchSpace,
        out_features: Sequence[str] | None = None,
    ):
        super().__init__(stem, stages, out_features=out_features)
        self.init_supernet(
            space,
            {
                name: blocks[0]
                for name, blocks in zip(space.names, stages, strict=True)
                if isinstance(blocks[0], ChoiceBlock)
            },
        )


def make_stage(depths: Sequence[int], sharing: str, stride: int, **block_args) -> list:
    """The blocks of one stage: one choice block, or plain blocks where only one depth is left.

    Args:
        depths: the numbers of blocks that the stage may have.
        sharing: ``none`` (each number of blocks owns its blocks) or ``prefix``.
        stride: of the first block.
        block_args: see :meth:`detectron2.modeling.ResNet.make_stage`.
    """

    def blocks(depth: int) -> list[CNNBlockBase]:
        strides = [stride] + [1] * (depth - 1)
        return ResNet.make_stage(num_blocks=depth, stride_per_block=strides, **block_args)

    if len(depths) == 1:
        return blocks(depths[0])
    if sharing == "prefix":
        return [PrefixDepthChoice(blocks(max(depths)), depths)]
    return [BranchDepthChoice({depth: blocks(depth) for depth in depths})]


def build_resnet(cfg, input_shape: ShapeSpec) -> Backbone:
    """Builds the supernet, or the one subnet that the config fixes.

    Widths and block type are Detectron2's ``MODEL.RESNETS.*`` keys: a ``DEPTH`` of 18 or 34
    stands for BasicBlock, any other for Bottleneck. The number of blocks is free where
    ``MODEL.SUPERNET.SPACE`` is ``stage`` and ``PATH_SAMPLER`` is not ``fixed``; else it is
    ``MODEL.GENOTYPE.DEPTHS`` or, without one, the allocation published for ``DEPTH``. A fixed
    network is a plain Detectron2 ResNet with the parameter names of Detectron2's model zoo.

    Raises:
        ValueError: a setting that this backbone cannot honour.
    """
    resnets = cfg.MODEL.RESNETS
    _check(cfg)
    space = build_search_space(cfg) if is_supernet(cfg) else None
    if space is not None:
        depth_options = [choice.options for choice in space.choices]
    else:
        depth_options = [(depth,) for depth in fixed_depths(cfg)]

    norm = resolve_norm(resnets.NORM, cfg.MODEL.DEVICE)
    stem = BasicStem(input_shape.channels, resnets.STEM_OUT_CHANNELS, norm)
    in_channels, out_channels = resnets.STEM_OUT_CHANNELS, resnets.RES2_OUT_CHANNELS
    bottleneck_channels = resnets.NUM_GROUPS * resnets.WIDTH_PER_GROUP
    stages = []
    for index, depths in enumerate(depth_options):
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
        stride = 1 if index == 0 else 2
        stages.append(make_stage(depths, cfg.MODEL.SUPERNET.SHARING, stride, **block_args))
        in_channels = out_channels
        out_channels, bottleneck_channels = out_channels * 2, bottleneck_channels * 2

    if space is not None:
        return SupernetResNet(stem, stages, space, resnets.OUT_FEATURES)
    freeze_at = cfg.MODEL.BACKBONE.FREEZE_AT
    return ResNet(stem, stages, out_features=resnets.OUT_FEATURES, freeze_at=freeze_at)


def fixed_depths(cfg) -> tuple[int, ...]:
    """The numbers of blocks of the one network that ``cfg`` names."""
    genotype = build_genotype(cfg)
    if genotype is not None:
        return genotype.depths
    supernet = cfg.MODEL.SUPERNET
    if supernet.SPACE != "none":
        raise ValueError(
            "MODEL.SUPERNET.PATH_SAMPLER is 'fixed' but MODEL.GENOTYPE is empty: add a "
            "genotype.yaml to _BASE_, set MODEL.GENOTYPE.DEPTHS, or set MODEL.SUPERNET.SPACE to "
            "'none' for the published allocation."
        )
    published = build_family(cfg).baseline_depths
    if cfg.MODEL.RESNETS.DEPTH not in published:
        raise ValueError(
            f"MODEL.RESNETS.DEPTH is {cfg.MODEL.RESNETS.DEPTH}; published depths: "
            f"{', '.join(map(str, published))}. Set MODEL.GENOTYPE.DEPTHS for another allocation."
        )
    return published[cfg.MODEL.RESNETS.DEPTH]


def _check(cfg) -> None:
    supernet, resnets = cfg.MODEL.SUPERNET, cfg.MODEL.RESNETS
    if supernet.SHARING not in SHARINGS:
        raise ValueError(
            f"MODEL.SUPERNET.SHARING is '{supernet.SHARING}'; expected one of {SHARINGS}."
        )
    if resnets.RES5_DILATION != 1 or any(resnets.DEFORM_ON_PER_STAGE):
        raise ValueError(
            "The supernet builders have no RES5_DILATION and no deformable convolution; reset "
            "MODEL.RESNETS.RES5_DILATION and DEFORM_ON_PER_STAGE."
        )
    if not is_supernet(cfg):
        return
    if cfg.MODEL.BACKBONE.FREEZE_AT > 0:
        raise ValueError(
            f"MODEL.BACKBONE.FREEZE_AT is {cfg.MODEL.BACKBONE.FREEZE_AT}: a supernet cannot be "
            "frozen in part, for the frozen stages hold choices that have yet to be trained. "
            "Set it to 0."
        )
    if resnets.NORM == "FrozenBN":
        raise ValueError(
            "MODEL.RESNETS.NORM is 'FrozenBN': each path of a supernet needs statistics of its "
            "own, which frozen ones cannot follow. Use 'BN' or 'SyncBN'."
        )
