"""Search better detection backbones at equal cost, inside Detectron2.

Importing this package is cheap: a public name is imported when it is first used, and with it our
backbones, datasets, families, spaces and costs are registered. Where Detectron2 has been imported
before, they are registered at once.
"""

import sys
from importlib import import_module
from typing import Any

from .common import third_party as _third_party  # noqa: F401  # before Detectron2: its warnings

__version__ = "0.1.0"

_HOMES = {
    "COST_REGISTRY": "space",
    "EVALUATOR_REGISTRY": "evaluation",
    "FAMILY_REGISTRY": "space",
    "SCORE_REGISTRY": "engine.scores",
    "SEARCHER_REGISTRY": "search",
    "SPACE_REGISTRY": "space",
    "Choice": "space",
    "Genotype": "space",
    "NetworkSpec": "config",
    "SearchSpace": "space",
    "add_crnas_config": "config",
    "build_backbone": "modeling",
    "find_supernet": "modeling",
    "genotype_file": "space",
    "load_config": "config",
    "run_search": "verbs.search.search",
    "run_training": "verbs.train",
}

__all__ = list(_HOMES)


def register() -> None:
    """Register backbones and datasets with Detectron2, and families, spaces and costs with us."""
    try:
        for room in ("modeling", "cost", "data"):
            import_module(f"crnas_d2.{room}")
    except ModuleNotFoundError as error:
        if error.name != "detectron2":
            raise
        raise ImportError(
            "crnas_d2 needs Detectron2, which is not installed: run crnas-d2 install-detectron2 "
            "(python tools/install_detectron2.py in a clone)."
        ) from None


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    register()
    return getattr(import_module(f"crnas_d2.{_HOMES[name]}"), name)


if "detectron2.modeling" in sys.modules:
    register()
