"""What may vary in a backbone, and at what cost. Pure Python: no torch, no Detectron2."""

from .budget import Budget
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
from .search_space import Choice, SearchSpace

__all__ = [
    "DILATIONS",
    "FAMILIES",
    "Budget",
    "Choice",
    "Family",
    "Genotype",
    "SearchSpace",
    "build_budget",
    "build_family",
    "build_genotype",
    "build_search_space",
    "genotype_file",
    "is_supernet",
]
