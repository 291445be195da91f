"""What may vary in a backbone, and at what cost. Pure Python: no torch, no Detectron2."""

from .budget import Budget, is_feasible, parse_limits
from .channel_space import ChannelSpace, SearchedConv, warn_without_plain_dilation
from .cost import COST_REGISTRY, AdditiveCost, Cost, CostBySize
from .dilations import (
    DILATION_SETS,
    Dilation,
    channel_order,
    check_dilation_choice,
    multiply_dilations,
    num_channel_groups,
    parse_dilations,
)
from .family import FAMILY_REGISTRY, Family, Operation, PlainResNet, SearchableConv
from .feasible import check_budgets, feasible_genotypes
from .fraction import FeasibleFraction, feasible_fraction
from .genotype import Genotype, genotype_file
from .kind import SPACE_REGISTRY, SpaceKind
from .rules import without_last_blocks
from .search_space import IMAGE_SIZE, Choice, SearchSpace

__all__ = [
    "COST_REGISTRY",
    "DILATION_SETS",
    "FAMILY_REGISTRY",
    "IMAGE_SIZE",
    "SPACE_REGISTRY",
    "AdditiveCost",
    "Budget",
    "ChannelSpace",
    "Choice",
    "Cost",
    "CostBySize",
    "Dilation",
    "Family",
    "FeasibleFraction",
    "Genotype",
    "Operation",
    "PlainResNet",
    "SearchSpace",
    "SearchableConv",
    "SearchedConv",
    "SpaceKind",
    "channel_order",
    "check_budgets",
    "check_dilation_choice",
    "feasible_fraction",
    "feasible_genotypes",
    "genotype_file",
    "is_feasible",
    "multiply_dilations",
    "num_channel_groups",
    "parse_dilations",
    "parse_limits",
    "warn_without_plain_dilation",
    "without_last_blocks",
]
