"""What a config changes, to tell runs apart."""

from collections.abc import Iterator, Mapping

from detectron2.config import CfgNode

from .loading import default_config

__all__ = ["changed_settings"]


def changed_settings(cfg: CfgNode) -> dict[str, object]:
    """Return the values that differ from the defaults, by key, e.g. ``SOLVER.MAX_ITER``.

    A key that a later version adds is not among them, unless it is set.
    """
    usual = dict(_leaves(default_config(cfg.PLUGINS)))
    return {key: value for key, value in _leaves(cfg) if key not in usual or usual[key] != value}


def _leaves(node: Mapping, prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
