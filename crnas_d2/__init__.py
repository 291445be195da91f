"""Search better detection backbones at equal cost, inside Detectron2.

Importing this package registers its backbones and datasets with Detectron2, and its families,
spaces and costs in their registries.
"""

from importlib import import_module

import crnas_d2.third_party  # noqa: F401  (first: it silences warnings of importing Detectron2)

try:
    from . import cost, data, modeling  # noqa: F401  (registration)
except ModuleNotFoundError as error:
    if error.name != "detectron2":
        raise
    raise ImportError(
        "crnas_d2 needs Detectron2, which is not installed: run crnas-d2 install-detectron2 "
        "(python tools/install_detectron2.py in a clone)."
    ) from None
from .config import NetworkSpec, add_crnas_config, load_config
from .modeling import build_backbone, find_supernet
from .space import (
    COST_REGISTRY,
    FAMILY_REGISTRY,
    SPACE_REGISTRY,
    Choice,
    Genotype,
    SearchSpace,
    genotype_file,
)

__version__ = "0.1.0"

# What a Detectron2 project that only names our backbones does not need: Optuna takes its time.
_LAZY = {"SEARCHER_REGISTRY": "search", "run_search": "jobs", "run_training": "jobs"}

__all__ = [
    "COST_REGISTRY",
    "FAMILY_REGISTRY",
    "SEARCHER_REGISTRY",
    "SPACE_REGISTRY",
    "Choice",
    "Genotype",
    "NetworkSpec",
    "SearchSpace",
    "add_crnas_config",
    "build_backbone",
    "find_supernet",
    "genotype_file",
    "load_config",
    "run_search",
    "run_training",
]


def __getattr__(name: str):
    if name in _LAZY:
        return getattr(import_module(f".{_LAZY[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
