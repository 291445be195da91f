"""What a config changes, to tell runs apart."""

from detectron2.config import CfgNode

from .entries import leaves
from .loading import default_config


def changed_settings(cfg: CfgNode) -> dict[str, object]:
    """Return the values that differ from the defaults, by key, e.g. ``SOLVER.MAX_ITER``.

    A key that a later version adds is not among them, unless it is set.
    """
    usual = dict(leaves(default_config(cfg.PLUGINS)))
    return {
        key: value
        for key, value in leaves(cfg)
        if key not in usual or _plain(usual[key]) != _plain(value)
    }


def _plain(value: object) -> object:
    """Turn tuples into lists, as writing a config to YAML does with those inside of others."""
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value
