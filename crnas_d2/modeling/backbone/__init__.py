"""Backbones, registered by name with Detectron2."""

from .build import (
    build_supernet_backbone,
    build_supernet_fpn_backbone,
    build_supernet_nasfpn_backbone,
    build_supernet_retinanet_fpn_backbone,
)
from .mobilenetv2 import MobileNetV2, SupernetMobileNetV2
from .resnet import SupernetResNet
from .shufflenetv2 import ShuffleNetV2, SupernetShuffleNetV2

__all__ = [
    "MobileNetV2",
    "ShuffleNetV2",
    "SupernetMobileNetV2",
    "SupernetResNet",
    "SupernetShuffleNetV2",
    "build_supernet_backbone",
    "build_supernet_fpn_backbone",
    "build_supernet_nasfpn_backbone",
    "build_supernet_retinanet_fpn_backbone",
]
