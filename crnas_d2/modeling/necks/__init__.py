"""Necks that Detectron2 lacks."""

from .nas_fpn import NASFPN
from .same_stride_fpn import SameStrideFPN

__all__ = ["NASFPN", "SameStrideFPN"]
