"""Our backbones in Detectron2's registry, for ``MODEL.BACKBONE.NAME`` of any config."""

import math
from dataclasses import replace

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from detectron2.modeling.backbone.fpn import FPN, LastLevelMaxPool, LastLevelP6P7
from torch import nn

from crnas_d2.common.errors import invalid
from crnas_d2.config import NetworkSpec
from crnas_d2.config.spec import builds_spec
from crnas_d2.layers import resolve_norm

from .body import build_body
from .necks import NASFPN, SameStrideFPN


@BACKBONE_REGISTRY.register()
@builds_spec
def build_supernet_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> Backbone:
    """Build the body alone: the supernet of ``MODEL.SUPERNET``, or one subnet of it."""
    return _checked(cfg, _build_body(cfg, input_shape))


@BACKBONE_REGISTRY.register()
@builds_spec
def build_supernet_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> Backbone:
    """Build the body with Detectron2's FPN for Faster, Mask and Cascade R-CNN (P2 to P6).

    A body that ends before res5 has a pyramid that ends one level after its last stage.
    """
    body = _build_body(cfg, input_shape)
    outputs = _check_in_features(cfg, body)
    strides = [outputs[name].stride for name in cfg.MODEL.FPN.IN_FEATURES]
    top_block = LastLevelMaxPool()
    top_block.in_feature = f"p{int(math.log2(max(strides)))}"
    return _checked(cfg, _build_fpn(cfg, body, top_block))


@BACKBONE_REGISTRY.register()
@builds_spec
def build_supernet_retinanet_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> Backbone:
    """Build the body with Detectron2's FPN for RetinaNet (P3 to P7)."""
    body = _build_body(cfg, input_shape)
    channels = body.output_shape()["res5"].channels
    top_block = LastLevelP6P7(channels, cfg.MODEL.FPN.OUT_CHANNELS)
    return _checked(cfg, _build_fpn(cfg, body, top_block))


@BACKBONE_REGISTRY.register()
@builds_spec
def build_supernet_nasfpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> Backbone:
    """Build the body with a NAS-FPN (P3 to P7)."""
    neck = NASFPN(
        bottom_up=_build_body(cfg, input_shape),
        in_features=cfg.MODEL.FPN.IN_FEATURES,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        num_stacks=cfg.MODEL.NAS_FPN.NUM_STACKS,
        norm=resolve_norm(cfg.MODEL.FPN.NORM, cfg.MODEL.DEVICE),
    )
    return _checked(cfg, neck)


@BACKBONE_REGISTRY.register()
@builds_spec
def build_supernet_same_stride_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> Backbone:
    """Build DetNet with its FPN (P2 to P6, of stride 4, 8, 16, 16, 16)."""
    body = _build_body(cfg, input_shape)
    _check_in_features(cfg, body)
    neck = SameStrideFPN(
        bottom_up=body,
        in_features=cfg.MODEL.FPN.IN_FEATURES,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=resolve_norm(cfg.MODEL.FPN.NORM, cfg.MODEL.DEVICE),
    )
    return _checked(cfg, neck)


def _build_body(cfg: CfgNode, input_shape: ShapeSpec) -> Backbone:
    return build_body(replace(NetworkSpec.from_config(cfg), in_channels=input_shape.channels))


def _check_in_features(cfg: CfgNode, body: Backbone) -> dict[str, ShapeSpec]:
    """Return the outputs of the body."""
    outputs, names = body.output_shape(), cfg.MODEL.FPN.IN_FEATURES
    if not names or not set(names) <= set(outputs):
        expected = f"some of the outputs of the body, {', '.join(outputs)}"
        raise invalid("MODEL.FPN.IN_FEATURES", list(names), expected)
    return outputs


def _build_fpn(cfg: CfgNode, body: Backbone, top_block: nn.Module) -> FPN:
    return FPN(
        bottom_up=body,
        in_features=cfg.MODEL.FPN.IN_FEATURES,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=resolve_norm(cfg.MODEL.FPN.NORM, cfg.MODEL.DEVICE),
        top_block=top_block,
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )


def _checked(cfg: CfgNode, backbone: Backbone) -> Backbone:
    """Return the backbone.

    Raises:
        ValueError: the detector builds a part of the body itself, or needs other outputs. The
            message names the builder or the head to use instead.
    """
    architecture, heads = cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.ROI_HEADS.NAME
    if architecture == "GeneralizedRCNN" and heads == "Res5ROIHeads":
        raise invalid(
            "MODEL.ROI_HEADS.NAME",
            heads,
            but="that (C4) builds res5 itself, so a genotype has no effect on it",
            fix="Use 'StandardROIHeads' or 'CascadeROIHeads' with MODEL.BACKBONE.NAME "
            "'build_supernet_fpn_backbone'",
        )
    outputs, wanted = backbone.output_shape(), list(cfg.MODEL.RETINANET.IN_FEATURES)
    if architecture == "RetinaNet" and not set(wanted) <= set(outputs):
        raise invalid(
            "MODEL.BACKBONE.NAME",
            cfg.MODEL.BACKBONE.NAME,
            but=f"that outputs {', '.join(outputs)}, and MODEL.RETINANET.IN_FEATURES is {wanted}",
            fix="RetinaNet needs 'build_supernet_retinanet_fpn_backbone' or "
            "'build_supernet_nasfpn_backbone'",
        )
    return backbone
