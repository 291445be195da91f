"""Kinds of search spaces, registered by name in SPACE_REGISTRY."""

from .channel import ChannelKind
from .joint import JointKind
from .operation import OperationKind
from .stage import StageKind

__all__ = ["ChannelKind", "JointKind", "OperationKind", "StageKind"]
