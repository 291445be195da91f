"""Supernets and the networks that a genotype names."""

from .backbone import (
    MobileNetV2,
    ShuffleNetV2,
    SupernetMobileNetV2,
    SupernetResNet,
    SupernetShuffleNetV2,
    build_supernet_backbone,
    build_supernet_fpn_backbone,
    build_supernet_nasfpn_backbone,
    build_supernet_retinanet_fpn_backbone,
)
from .channel_supernet import alpha_summary, decoded_genotype, find_mixed_convs
from .decoded_weights import decode_state_dict
from .meta_arch import ImageClassifier
from .subnet_weights import fixed_names, subnet_state_dict
from .supernet import Supernet, find_supernet

__all__ = [
    "ImageClassifier",
    "MobileNetV2",
    "ShuffleNetV2",
    "Supernet",
    "SupernetMobileNetV2",
    "SupernetResNet",
    "SupernetShuffleNetV2",
    "alpha_summary",
    "build_supernet_backbone",
    "build_supernet_fpn_backbone",
    "build_supernet_nasfpn_backbone",
    "build_supernet_retinanet_fpn_backbone",
    "decode_state_dict",
    "decoded_genotype",
    "find_mixed_convs",
    "find_supernet",
    "fixed_names",
    "subnet_state_dict",
]
