"""Supernets and the networks that a genotype names."""

from .backbone import (
    SupernetResNet,
    build_supernet_backbone,
    build_supernet_fpn_backbone,
    build_supernet_retinanet_fpn_backbone,
    fixed_depths,
)
from .meta_arch import ImageClassifier
from .subnet_weights import fixed_names, subnet_state_dict
from .supernet import Supernet, find_supernet

__all__ = [
    "ImageClassifier",
    "Supernet",
    "SupernetResNet",
    "build_supernet_backbone",
    "build_supernet_fpn_backbone",
    "build_supernet_retinanet_fpn_backbone",
    "find_supernet",
    "fixed_depths",
    "fixed_names",
    "subnet_state_dict",
]
