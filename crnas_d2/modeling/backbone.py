"""Our backbones in Detectron2's registry, for ``MODEL.BACKBONE.NAME`` of any config."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from detectron2.modeling.backbone.fpn import FPN, LastLevelMaxPool, LastLevelP6P7

from crnas_d2.common.errors import invalid
from crnas_d2.config import NetworkSpec
from crnas_d2.config.spec import builds_spec
from crnas_d2.layers import resolve_norm

from .body import build_body
from .necks import NASFPN, SameStrideFPN

Builder = Callable[[CfgNode, ShapeSpec], Backbone]

PLAIN_BUILDERS = {
    "build_supernet_backbone": "build_resnet_backbone",
    "build_supernet_fpn_backbone": "build_resnet_fpn_backbone",
    "build_supernet_retinanet_fpn_backbone": "build_retinanet_resnet_fpn_backbone",
}
"""By our builder, that of Detectron2 which puts the same neck on a ResNet."""


def _register(build: Callable[[CfgNode, Backbone], Backbone]) -> Builder:
    """Register a function that puts a neck on a body, as a builder of Detectron2."""

    @BACKBONE_REGISTRY.register()
    @builds_spec
    @wraps(build)
    def builder(cfg: CfgNode, input_shape: ShapeSpec) -> Backbone:
        spec = replace(NetworkSpec.from_config(cfg), in_channels=input_shape.channels)
        backbone = build(cfg, build_body(spec))
        _check_heads(cfg, backbone.output_shape())
        return backbone

    return builder


@_register
def build_supernet_backbone(cfg: CfgNode, body: Backbone) -> Backbone:
    """Build the body alone: the supernet of ``MODEL.SUPERNET``, or one subnet of it."""
    return body


@_register
def build_supernet_fpn_backbone(cfg: CfgNode, body: Backbone) -> Backbone:
    """Build the body with Detectron2's FPN for Faster, Mask and Cascade R-CNN (P2 to P6).

    A body that ends before res5 has a pyramid that ends one level after its last stage.
    """
    arguments, outputs = _neck_arguments(cfg, body), body.output_shape()
    top_block = LastLevelMaxPool()
    stride = max(outputs[name].stride for name in cfg.MODEL.FPN.IN_FEATURES)
    top_block.in_feature = f"p{int(math.log2(stride))}"
    return FPN(**arguments, top_block=top_block, fuse_type=cfg.MODEL.FPN.FUSE_TYPE)


@_register
def build_supernet_retinanet_fpn_backbone(cfg: CfgNode, body: Backbone) -> Backbone:
    """Build the body with Detectron2's FPN for RetinaNet (P3 to P7)."""
    arguments = _neck_arguments(cfg, body)
    top_block = LastLevelP6P7(body.output_shape()["res5"].channels, cfg.MODEL.FPN.OUT_CHANNELS)
    return FPN(**arguments, top_block=top_block, fuse_type=cfg.MODEL.FPN.FUSE_TYPE)


@_register
def build_supernet_nasfpn_backbone(cfg: CfgNode, body: Backbone) -> Backbone:
    """Build the body with a NAS-FPN (P3 to P7)."""
    return NASFPN(**_neck_arguments(cfg, body), num_stacks=cfg.MODEL.NAS_FPN.NUM_STACKS)


@_register
def build_supernet_same_stride_fpn_backbone(cfg: CfgNode, body: Backbone) -> Backbone:
    """Build DetNet with its FPN (P2 to P6, of stride 4, 8, 16, 16, 16)."""
    return SameStrideFPN(**_neck_arguments(cfg, body))


def _neck_arguments(cfg: CfgNode, body: Backbone) -> dict[str, Any]:
    outputs, names = body.output_shape(), cfg.MODEL.FPN.IN_FEATURES
    if not names or not set(names) <= set(outputs):
        expected = f"some of the outputs of the body, {', '.join(outputs)}"
        raise invalid("MODEL.FPN.IN_FEATURES", list(names), expected)
    return {
        "bottom_up": body,
        "in_features": names,
        "out_channels": cfg.MODEL.FPN.OUT_CHANNELS,
        "norm": resolve_norm(cfg.MODEL.FPN.NORM, cfg.MODEL.DEVICE),
    }


def _check_heads(cfg: CfgNode, outputs: dict[str, ShapeSpec]) -> None:
    """Raise ValueError for a detector that builds res5 itself, or needs other outputs."""
    architecture, heads = cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.ROI_HEADS.NAME
    if architecture == "GeneralizedRCNN" and heads == "Res5ROIHeads":
        fix = "Use 'StandardROIHeads' or 'CascadeROIHeads' with MODEL.BACKBONE.NAME "
        fix += "'build_supernet_fpn_backbone'"
        but = "that (C4) builds res5 itself, so a genotype has no effect on it"
        raise invalid("MODEL.ROI_HEADS.NAME", heads, but=but, fix=fix)
    wanted = list(cfg.MODEL.RETINANET.IN_FEATURES)
    if architecture == "RetinaNet" and not set(wanted) <= set(outputs):
        but = f"that outputs {', '.join(outputs)}, and MODEL.RETINANET.IN_FEATURES is {wanted}"
        fix = "RetinaNet needs 'build_supernet_retinanet_fpn_backbone' or "
        fix += "'build_supernet_nasfpn_backbone'"
        raise invalid("MODEL.BACKBONE.NAME", cfg.MODEL.BACKBONE.NAME, but=but, fix=fix)
