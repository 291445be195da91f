"""The norms of a whole model, which several keys of a config name."""

from collections.abc import Callable

from detectron2.config import CfgNode


def replace_norms(node: CfgNode, replace: Callable[[str], str]) -> None:
    """Replace every ``NORM`` of a config in place."""
    for key, value in node.items():
        if isinstance(value, dict):
            replace_norms(value, replace)
        elif key == "NORM":
            node[key] = replace(value)


def without_sync(cfg: CfgNode) -> CfgNode:
    """Return a config for evaluations, whose BN needs no other process."""
    cfg = cfg.clone()
    cfg.defrost()
    replace_norms(cfg, lambda norm: "BN" if norm in ("SyncBN", "naiveSyncBN") else norm)
    return cfg
