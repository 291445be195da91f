"""Necks that Detectron2 lacks."""

from .nas_fpn import NASFPN

__all__ = ["NASFPN"]
