"""All checks of a config before work starts."""

import logging
import os
from collections.abc import Sequence
from importlib.util import find_spec as find_module

from detectron2.config import CfgNode

from crnas_d2.config import NetworkSpec, spell
from crnas_d2.config.checks import check_model
from crnas_d2.config.values import check_values
from crnas_d2.cost import check_costs
from crnas_d2.data import check_data
from crnas_d2.engine import check_lr_scheduler

from .scores import SCORE_REGISTRY

logger = logging.getLogger(__name__)


def check_config(cfg: CfgNode, dataset_keys: Sequence[str]) -> NetworkSpec | None:
    """Register the user's datasets; check settings that would fail, or mislead, hours later.

    Args:
        dataset_keys: those of ``cfg.DATASETS`` that will be read, e.g. ``TRAIN``.

    Returns:
        the spec of the backbone; ``None`` if it is not ours.

    Raises:
        ValueError: naming the key, its value and what to do.
    """
    check_values(cfg)
    check_lr_scheduler(cfg)
    if cfg.SOLVER.WARMUP_ITERS >= cfg.SOLVER.MAX_ITER and "TRAIN" in dataset_keys:
        logger.warning(
            "SOLVER.WARMUP_ITERS is %d, but SOLVER.MAX_ITER is %d: the learning rate never reaches "
            "SOLVER.BASE_LR. Set SOLVER.WARMUP_ITERS to less.",
            *(cfg.SOLVER.WARMUP_ITERS, cfg.SOLVER.MAX_ITER),
        )
    check_costs(cfg)
    spec = check_model(cfg)
    if "TRAIN" in dataset_keys:
        _check_training(cfg)
    check_data(cfg, dataset_keys)
    return spec


def _check_training(cfg: CfgNode) -> None:
    """Raise ValueError for what this machine cannot do in a training."""
    if cfg.VIS_PERIOD and find_module("cv2") is None:
        raise ValueError(
            f"VIS_PERIOD is {cfg.VIS_PERIOD}, but Detectron2 draws with OpenCV, which is not "
            "installed: pip install opencv-python-headless, or set it to 0."
        )


def check_search(cfg) -> NetworkSpec:
    """Check that a config describes a search that can be run.

    Returns:
        the spec of the supernet.

    Raises:
        ValueError: naming the key, its value and what to do.
    """
    spec = NetworkSpec.from_config(cfg)
    if not spec.is_supernet:
        raise ValueError(
            "Nothing to search: MODEL.SUPERNET.SPACE is 'none' or PATH_SAMPLER is 'fixed'. Use "
            "the config with which the supernet was trained."
        )
    if spec.is_searched_in_training:
        raise ValueError(
            f"MODEL.SUPERNET.SPACE is '{spec.kind.name}', which is searched by gradient while the "
            f"supernet is trained: {spell('train')} writes genotype.yaml when it is done."
        )
    score = SCORE_REGISTRY.get(cfg.SEARCH.SCORE)
    score.check(cfg)
    if (score.uses_supernet or cfg.SEARCH.FINALISTS.NUMBER) and len(cfg.DATASETS.ARCHVAL) != 1:
        raise ValueError(
            f"DATASETS.ARCHVAL is {cfg.DATASETS.ARCHVAL}; expected exactly one dataset."
        )
    if os.path.exists(os.path.join(cfg.OUTPUT_DIR, "last_checkpoint")):
        raise ValueError(
            f"OUTPUT_DIR {cfg.OUTPUT_DIR} holds a training, whose files a search would overwrite; "
            "choose another OUTPUT_DIR."
        )
    return spec
