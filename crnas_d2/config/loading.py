"""From the command line to a config."""

import logging
import os
from collections.abc import Sequence

import torch
import yaml
from detectron2.config import CfgNode, get_cfg

from crnas_d2.space import COST_REGISTRY

from .defaults import add_crnas_config
from .plugins import import_plugins

__all__ = ["default_config", "load_config"]

logger = logging.getLogger(__name__)


def default_config(plugins: Sequence[str] = ()) -> CfgNode:
    """Return Detectron2's defaults with our keys and those of the user's modules.

    Args:
        plugins: modules to import, see ``PLUGINS``. A function ``add_config(cfg)`` of such a
            module adds its keys.

    Raises:
        ValueError: a module that cannot be imported.
    """
    modules = import_plugins(plugins)  # first, because the limits of their costs are keys
    cfg = get_cfg()
    add_crnas_config(cfg)
    cfg.PLUGINS = list(plugins)
    for module in modules:
        if hasattr(module, "add_config"):
            module.add_config(cfg)
    return cfg


def load_config(config_file: str, overrides: Sequence[str]) -> CfgNode:
    """Load a config: the defaults, then the file, then ``KEY VALUE`` overrides.

    A config that asks for a GPU where there is none is changed to the CPU, with a warning.

    Raises:
        ValueError: a missing file, an unknown key, a value of the wrong type, a module of
            ``PLUGINS`` that cannot be imported.
    """
    if config_file and not os.path.isfile(config_file):
        raise ValueError(f"--config-file is {config_file}, which does not exist.")
    try:
        cfg = default_config(_plugins(config_file, overrides))
        if config_file:
            cfg.merge_from_file(config_file)
        cfg.merge_from_list(list(overrides))
    except (AssertionError, KeyError) as error:  # unknown keys, and keys without a value
        raise ValueError(_explain(error)) from error
    except yaml.YAMLError as error:
        raise ValueError(f"{config_file} is not valid YAML: {error}") from error
    except FileNotFoundError as error:
        missing = os.path.normpath(error.filename)
        is_found = os.path.basename(missing) == "genotype.yaml"
        raise ValueError(
            f"{config_file} inherits from {missing}, which does not exist."
            + (" A search leaves it in its OUTPUT_DIR: run that first." if is_found else "")
        ) from error
    if cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available():
        logger.warning("MODEL.DEVICE is '%s' but there is no GPU: using the CPU.", cfg.MODEL.DEVICE)
        cfg.MODEL.DEVICE = "cpu"
    return cfg


def _plugins(config_file: str, overrides: Sequence[str]) -> list[str]:
    """Return ``PLUGINS`` of the overrides or the file, which is needed before all other keys."""
    named = dict(zip(overrides[::2], overrides[1::2], strict=False))  # the last one counts
    if "PLUGINS" in named:
        value = named["PLUGINS"]
        return yaml.safe_load(value) if isinstance(value, str) else value
    if not config_file:
        return []
    # allow_unsafe as in merge_from_file, because configs of Detectron2's model zoo need it.
    return CfgNode.load_yaml_with_base(config_file, allow_unsafe=True).get("PLUGINS", [])


def _explain(error: Exception) -> str:
    """Return the message of yacs, with the known names if a cost is unknown."""
    message = str(error.args[0]) if error.args else str(error)
    if "SEARCH.BUDGET." in message and "Non-existent" in message:
        message += (
            f". Known costs: {', '.join(COST_REGISTRY.names)}. PLUGINS lists the modules that "
            "register others."
        )
    return message
