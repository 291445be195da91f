"""All checks of a config before work starts."""

from collections.abc import Sequence

from detectron2.config import CfgNode

from crnas_d2.config import NetworkSpec
from crnas_d2.config.checks import check_model
from crnas_d2.cost import check_costs
from crnas_d2.data import check_data
from crnas_d2.engine import check_lr_scheduler

__all__ = ["check_config"]


def check_config(cfg: CfgNode, dataset_keys: Sequence[str]) -> NetworkSpec | None:
    """Register the user's datasets; check settings that would fail, or mislead, hours later.

    Args:
        dataset_keys: those of ``cfg.DATASETS`` that will be read, e.g. ``TRAIN``.

    Returns:
        the spec of the backbone; ``None`` if it is not ours.

    Raises:
        ValueError: naming the key, its value and what to do.
    """
    check_lr_scheduler(cfg)
    check_costs(cfg)
    spec = check_model(cfg)
    check_data(cfg, dataset_keys)
    return spec
