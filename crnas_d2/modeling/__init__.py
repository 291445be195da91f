"""Supernets and the networks that a genotype names."""

from .backbone import (
    SupernetResNet,
    build_supernet_backbone,
    build_supernet_fpn_backbone,
    build_supernet_retinanet_fpn_backbone,
    fixed_depths,
)
from .supernet import Supernet, find_supernet

__all__ = [
    "Supernet",
    "SupernetResNet",
    "build_supernet_backbone",
    "build_supernet_fpn_backbone",
    "build_supernet_retinanet_fpn_backbone",
    "find_supernet",
    "fixed_depths",
]
