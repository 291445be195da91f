"""Checks of plug-ins against the contracts of their interfaces, for the tests of a project.

Each raises AssertionError with a sentence that says what the contract demands and what was found.
Give small objects: networks are built on the CPU.
"""

from .networks import check_cost, check_family, check_kind
from .searches import check_path_sampler, check_score, check_searcher

__all__ = [
    "check_cost",
    "check_family",
    "check_kind",
    "check_path_sampler",
    "check_score",
    "check_searcher",
]
