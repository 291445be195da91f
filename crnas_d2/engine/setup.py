"""From the command line to a checked config."""

import logging
import os
from collections.abc import Sequence

import torch
import yaml
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_backbone, build_model

from crnas_d2.config import add_crnas_config
from crnas_d2.data import (
    check_archval,
    check_class_count,
    check_datasets,
    check_task,
    register_datasets,
)
from crnas_d2.space import (
    ChannelSpace,
    SearchSpace,
    build_genotype,
    build_search_space,
    is_supernet,
    warn_without_plain_dilation,
)

from .lr_scheduler import check_lr_scheduler

__all__ = ["check_config", "load_config"]

logger = logging.getLogger(__name__)

PATH_SAMPLERS = ("uniform", "alpha", "fixed")


def load_config(config_file: str, overrides: Sequence[str]) -> CfgNode:
    """Detectron2's defaults and ours, then the file, then ``KEY VALUE`` overrides.

    Where the config asks for a GPU and there is none, everything runs on the CPU.

    Raises:
        ValueError: a missing file, an unknown key, a value of the wrong type.
    """
    if config_file and not os.path.isfile(config_file):
        raise ValueError(f"--config-file is {config_file}, which does not exist.")
    cfg = get_cfg()
    add_crnas_config(cfg)
    try:
        if config_file:
            cfg.merge_from_file(config_file)
        cfg.merge_from_list(list(overrides))
    except (AssertionError, KeyError) as error:  # unknown keys, and keys without a value
        raise ValueError(*error.args) from error
    except yaml.YAMLError as error:
        raise ValueError(f"{config_file} is no valid YAML: {error}") from error
    except FileNotFoundError as error:
        missing = os.path.normpath(error.filename)
        is_found = os.path.basename(missing) == "genotype.yaml"
        raise ValueError(
            f"{config_file} inherits from {missing}, which does not exist."
            + (" A search leaves it in its OUTPUT_DIR: run that first." if is_found else "")
        ) from error
    if cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available():
        logger.warning("MODEL.DEVICE is '%s' but no GPU is there: using the CPU.", cfg.MODEL.DEVICE)
        cfg.MODEL.DEVICE = "cpu"
    return cfg


def check_config(cfg: CfgNode, dataset_keys: Sequence[str]) -> None:
    """Registers the user's datasets and refuses what would fail, or mislead, hours later.

    Args:
        dataset_keys: those of ``cfg.DATASETS`` that will be read, e.g. ``TRAIN``.

    Raises:
        ValueError: naming the key, its value and what to do.
    """
    sampler = cfg.MODEL.SUPERNET.PATH_SAMPLER
    if sampler not in PATH_SAMPLERS:
        raise ValueError(
            f"MODEL.SUPERNET.PATH_SAMPLER is '{sampler}'; expected one of {PATH_SAMPLERS}."
        )
    check_lr_scheduler(cfg)
    space = build_search_space(cfg)
    if not is_supernet(cfg):
        build_genotype(cfg)
    elif cfg.MODEL.GENOTYPE[space.field.upper()]:
        raise ValueError(
            f"MODEL.GENOTYPE.{space.field.upper()} names one network, but MODEL.SUPERNET.SPACE is "
            f"'{space.kind}' with PATH_SAMPLER '{sampler}', which builds all of them. Set "
            "PATH_SAMPLER to 'fixed' for the one, or empty that key."
        )
    else:
        _check_supernet_settings(cfg, space)
    if cfg.MODEL.BACKBONE.NAME.startswith("build_supernet"):
        _try_backbone(cfg)
    weights = cfg.MODEL.WEIGHTS
    if weights and "://" not in weights and not os.path.isfile(weights):
        raise ValueError(f"MODEL.WEIGHTS is {weights}, which does not exist.")
    register_datasets(cfg)
    for key in dataset_keys:
        check_datasets(f"DATASETS.{key}", cfg.DATASETS[key])
    names = [name for key in dataset_keys for name in cfg.DATASETS[key]]
    check_task(cfg, names)
    check_class_count(cfg, names)
    if "ARCHVAL" in dataset_keys:
        check_archval(cfg)


def _check_supernet_settings(cfg: CfgNode, space: SearchSpace | ChannelSpace) -> None:
    expected = "alpha" if space.kind == "channel" else "uniform"
    sampler = cfg.MODEL.SUPERNET.PATH_SAMPLER
    if sampler != expected:
        raise ValueError(
            f"MODEL.SUPERNET.PATH_SAMPLER is '{sampler}', but the {space.kind} space is trained "
            f"with '{expected}'. Set it to that, or to 'fixed' for the network of MODEL.GENOTYPE."
        )
    if space.kind == "channel":
        start = cfg.SOLVER.ALPHA.START
        if not 0 <= start < 1:
            raise ValueError(
                f"SOLVER.ALPHA.START is {start}; expected a part of SOLVER.MAX_ITER, from 0 to "
                "below 1, for alpha must be trained in the rest of it."
            )
        if cfg.MODEL.WEIGHTS:
            warn_without_plain_dilation(space)
        return
    if cfg.MODEL.GENOTYPE.CHANNELS:
        raise ValueError(
            f"MODEL.GENOTYPE.CHANNELS is set, but MODEL.SUPERNET.SPACE is '{space.kind}', whose "
            "networks do not have the convolutions that it was found for. Set it to [], and search "
            "the channels of the network that this search finds."
        )
    if cfg.TEST.PRECISE_BN.ENABLED:
        raise ValueError(
            "TEST.PRECISE_BN.ENABLED is True: PreciseBN overwrites the statistics of every path "
            "of a supernet with those of one. Set it to False; a search calibrates BN itself."
        )


def _try_backbone(cfg: CfgNode) -> None:
    """Builds the backbone without memory or weights, for it refuses what it cannot honour.

    And so does a classifier, which takes no neck.
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = "meta"
    classifies = cfg.MODEL.META_ARCHITECTURE == "ImageClassifier"
    with torch.device("meta"):
        (build_model if classifies else build_backbone)(cfg)
