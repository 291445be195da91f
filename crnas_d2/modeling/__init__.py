"""Supernets, and the networks that genotypes describe."""

from . import families, spaces  # noqa: F401  (registration)
from .backbone import (
    build_supernet_backbone,
    build_supernet_fpn_backbone,
    build_supernet_nasfpn_backbone,
    build_supernet_retinanet_fpn_backbone,
    build_supernet_same_stride_fpn_backbone,
)
from .body import build_backbone, build_body
from .classifier import ImageClassifier
from .single_path import SinglePathKind, SinglePathSupernet
from .spaces.channel import MixedSupernet
from .staged_body import StagedBody
from .supernet import Supernet, find_supernet

__all__ = [
    "ImageClassifier",
    "MixedSupernet",
    "SinglePathKind",
    "SinglePathSupernet",
    "StagedBody",
    "Supernet",
    "build_backbone",
    "build_body",
    "build_supernet_backbone",
    "build_supernet_fpn_backbone",
    "build_supernet_nasfpn_backbone",
    "build_supernet_retinanet_fpn_backbone",
    "build_supernet_same_stride_fpn_backbone",
    "find_supernet",
]
