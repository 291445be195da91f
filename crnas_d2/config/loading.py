"""From the command line to a config, and what a config changes."""

import importlib
import logging
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch
from detectron2.config import CfgNode, get_cfg

from crnas_d2.common.plain_yaml import is_list, parse_yaml, without_tuples

from .config_file import read_config_file
from .defaults import add_crnas_config
from .entries import leaves, set_entries, set_overrides
from .values import check_device, check_values

logger = logging.getLogger(__name__)


def default_config(plugins: Sequence[str] = ()) -> CfgNode:
    """Return Detectron2's defaults with our keys and those of the user's modules, ``PLUGINS``.

    A function ``add_config(cfg)`` of such a module adds its keys. Raise ValueError for a module
    that cannot be imported.
    """
    modules = import_plugins(plugins)  # first, because the limits of their costs are keys
    cfg = get_cfg()
    add_crnas_config(cfg)
    cfg.PLUGINS = list(plugins)
    for module in modules:
        if hasattr(module, "add_config"):
            module.add_config(cfg)
    return cfg


def load_config(
    config_file: str,
    overrides: Sequence[str],
    *,
    skipped: list[str] | None = None,
    is_read_only: bool = False,
) -> CfgNode:
    """Load a config: the defaults, then the file, then ``KEY VALUE`` overrides.

    The file is data: nothing in it is executed. A config that asks for a GPU where there is none is
    changed to the CPU, with a warning. Whatever is wrong raises ValueError.

    Args:
        skipped: gets each ``genotype.yaml`` of ``_BASE_`` that no search has written yet. The
            config is then that of the network without it; default: it is an error.
        is_read_only: whether it is that of a run which may be somebody else's: its ``PLUGINS`` are
            not imported, but have to be imported already, as the user asks with ``--plugins``.
    """
    content = read_config_file(config_file, skipped=skipped) if config_file else {}
    # PLUGINS is needed before all other keys; the last override counts.
    named = dict(zip(overrides[::2], overrides[1::2], strict=False))
    plugins: Any = named.get("PLUGINS", content.get("PLUGINS", []))
    plugins = parse_yaml(plugins, "PLUGINS") if isinstance(plugins, str) else plugins
    if is_read_only:
        _check_imported(plugins, config_file)
    cfg = default_config(plugins)
    try:
        set_entries(cfg, content)
    except ValueError as error:
        raise ValueError(f"{config_file}: {error}") from error
    set_overrides(cfg, overrides)
    check_device("MODEL.DEVICE", cfg.MODEL.DEVICE)
    if cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available():
        logger.warning("MODEL.DEVICE is '%s' but there is no GPU: using the CPU.", cfg.MODEL.DEVICE)
        cfg.MODEL.DEVICE = "cpu"
    check_values(cfg)
    return cfg


def _check_imported(names: Sequence[str], config_file: str) -> None:
    """Raise ValueError for modules of ``PLUGINS`` that the user has not asked for."""
    missing = [name for name in names if name not in sys.modules] if is_list(names) else []
    if missing:
        raise ValueError(
            f"{config_file} names PLUGINS {missing}, whose code would run here: if you trust it, "
            f"add --plugins {' '.join(map(str, missing))} (in Python, import it before)."
        )


def import_plugins(names: Sequence[str]) -> list[ModuleType]:
    """Import the modules of ``PLUGINS``; raise ValueError for one that cannot be imported.

    A module that is already imported is not reloaded.
    """
    if not is_list(names) or not all(name and isinstance(name, str) for name in names):
        raise ValueError(f"PLUGINS is {names!r}; expected a list of modules: ['my_project.vgg'].")
    modules = []
    for name in names:
        try:
            modules.append(importlib.import_module(name))
        except Exception as error:  # an import can raise anything
            missing = error.name if isinstance(error, ModuleNotFoundError) else None
            lost = missing is not None and f"{name}.".startswith(f"{missing}.")
            hint = " Add the folder that holds it to PYTHONPATH, or install it." if lost else ""
            why = f"{type(error).__name__}: {error}.{hint}"
            raise ValueError(f"PLUGINS names '{name}', which cannot be imported: {why}") from error
    return modules


def changed_settings(cfg: CfgNode) -> dict[str, object]:
    """Return the values that differ from the defaults, by key, e.g. ``SOLVER.MAX_ITER``.

    A key that a later version adds is not among them, unless it is set.
    """
    usual = dict(leaves(default_config(cfg.PLUGINS)))
    return {
        key: value
        for key, value in leaves(cfg)
        if key not in usual or without_tuples(usual[key]) != without_tuples(value)
    }
