"""What may vary in a backbone, and at what cost. Pure Python: no torch, no Detectron2."""

from .budget import Budget, Share, parse_limits
from .build import (
    build_budget,
    build_family,
    build_genotype,
    build_search_space,
    is_supernet,
)
from .families import DILATIONS, FAMILIES, Family
from .genotype import Genotype
from .published import genotype_file
from .search_space import Choice, SearchSpace, check_budgets

__all__ = [
    "DILATIONS",
    "FAMILIES",
    "Budget",
    "Choice",
    "Family",
    "Genotype",
    "SearchSpace",
    "Share",
    "build_budget",
    "build_family",
    "build_genotype",
    "build_search_space",
    "check_budgets",
    "genotype_file",
    "is_supernet",
    "parse_limits",
]
