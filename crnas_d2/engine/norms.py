"""The norms of a whole model, which several keys of a config name."""

from collections.abc import Callable

from detectron2.config import CfgNode

__all__ = ["replace_norms"]


def replace_norms(node: CfgNode, replace: Callable[[str], str]) -> None:
    """Replace every ``NORM`` of a config in place."""
    for key, value in node.items():
        if isinstance(value, dict):
            replace_norms(value, replace)
        elif key == "NORM":
            node[key] = replace(value)
