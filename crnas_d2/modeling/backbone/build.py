"""The names under which any Detectron2 config can ask for our backbones."""

from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from detectron2.modeling.backbone.fpn import FPN, LastLevelMaxPool, LastLevelP6P7

from crnas_d2.layers import resolve_norm
from crnas_d2.space import build_family

from .mobilenetv2 import build_mobilenetv2
from .nas_fpn import NASFPN
from .resnet import build_resnet
from .shufflenetv2 import build_shufflenetv2

__all__ = [
    "build_supernet_backbone",
    "build_supernet_fpn_backbone",
    "build_supernet_nasfpn_backbone",
    "build_supernet_retinanet_fpn_backbone",
]

_BUILDERS = {
    "resnet": build_resnet,
    "mobilenetv2": build_mobilenetv2,
    "shufflenetv2": build_shufflenetv2,
}


@BACKBONE_REGISTRY.register()
def build_supernet_backbone(cfg, input_shape: ShapeSpec) -> Backbone:
    """The body alone: the supernet of ``MODEL.SUPERNET``, or one subnet of it."""
    build_family(cfg)
    return _BUILDERS[cfg.MODEL.SUPERNET.FAMILY](cfg, input_shape)


@BACKBONE_REGISTRY.register()
def build_supernet_fpn_backbone(cfg, input_shape: ShapeSpec) -> Backbone:
    """The body with Detectron2's FPN for Faster, Mask and Cascade R-CNN (P2 to P6)."""
    return _with_fpn(cfg, build_supernet_backbone(cfg, input_shape), LastLevelMaxPool())


@BACKBONE_REGISTRY.register()
def build_supernet_retinanet_fpn_backbone(cfg, input_shape: ShapeSpec) -> Backbone:
    """The body with Detectron2's FPN for RetinaNet (P3 to P7)."""
    body = build_supernet_backbone(cfg, input_shape)
    channels = body.output_shape()["res5"].channels
    return _with_fpn(cfg, body, LastLevelP6P7(channels, cfg.MODEL.FPN.OUT_CHANNELS))


@BACKBONE_REGISTRY.register()
def build_supernet_nasfpn_backbone(cfg, input_shape: ShapeSpec) -> Backbone:
    """The body with a NAS-FPN (P3 to P7)."""
    return NASFPN(
        bottom_up=build_supernet_backbone(cfg, input_shape),
        in_features=cfg.MODEL.FPN.IN_FEATURES,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        num_stacks=cfg.MODEL.NAS_FPN.NUM_STACKS,
        norm=resolve_norm(cfg.MODEL.FPN.NORM, cfg.MODEL.DEVICE),
    )


def _with_fpn(cfg, body: Backbone, top_block) -> FPN:
    return FPN(
        bottom_up=body,
        in_features=cfg.MODEL.FPN.IN_FEATURES,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=resolve_norm(cfg.MODEL.FPN.NORM, cfg.MODEL.DEVICE),
        top_block=top_block,
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )
