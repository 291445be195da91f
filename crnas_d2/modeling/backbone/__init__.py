"""Backbones, registered by name with Detectron2."""

from .build import (
    build_supernet_backbone,
    build_supernet_fpn_backbone,
    build_supernet_retinanet_fpn_backbone,
)
from .resnet import SupernetResNet, fixed_depths

__all__ = [
    "SupernetResNet",
    "build_supernet_backbone",
    "build_supernet_fpn_backbone",
    "build_supernet_retinanet_fpn_backbone",
    "fixed_depths",
]
