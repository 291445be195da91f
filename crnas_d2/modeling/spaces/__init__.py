"""Kinds of search spaces, registered by name in SPACE_REGISTRY."""

from .blocks import JointKind, OperationKind, StageKind
from .channel import ChannelKind

__all__ = ["ChannelKind", "JointKind", "OperationKind", "StageKind"]
