"""What may vary in a backbone, and at what cost. Pure Python: no torch, no Detectron2."""

from .budget import Budget, parse_limits
from .build import (
    build_budget,
    build_channels,
    build_family,
    build_genotype,
    build_search_space,
    is_channel_search,
    is_supernet,
)
from .channel_space import ChannelSpace, SearchedConv, warn_without_plain_dilation
from .dilations import (
    DILATION_SETS,
    Dilation,
    channel_order,
    check_dilation_indices,
    has_plain_dilation,
    multiply_dilations,
    num_channel_groups,
    parse_dilations,
)
from .families import DILATIONS, FAMILIES, Family
from .genotype import Genotype
from .published import genotype_file
from .search_space import Choice, SearchSpace, check_budgets
from .share import Share

__all__ = [
    "DILATIONS",
    "DILATION_SETS",
    "FAMILIES",
    "Budget",
    "ChannelSpace",
    "Choice",
    "Dilation",
    "Family",
    "Genotype",
    "SearchSpace",
    "SearchedConv",
    "Share",
    "build_budget",
    "build_channels",
    "build_family",
    "build_genotype",
    "build_search_space",
    "channel_order",
    "check_budgets",
    "check_dilation_indices",
    "genotype_file",
    "has_plain_dilation",
    "is_channel_search",
    "is_supernet",
    "multiply_dilations",
    "num_channel_groups",
    "parse_dilations",
    "parse_limits",
    "warn_without_plain_dilation",
]
