"""From a config to the search space and the budget it describes."""

from .budget import Budget
from .families import FAMILIES, Family
from .genotype import Genotype
from .search_space import SearchSpace

__all__ = ["build_budget", "build_family", "build_genotype", "build_search_space", "is_supernet"]

SPACES = ("none", "stage")


def build_family(cfg) -> Family:
    name = cfg.MODEL.SUPERNET.FAMILY
    if name not in FAMILIES:
        raise ValueError(
            f"MODEL.SUPERNET.FAMILY is '{name}'; known families: {', '.join(FAMILIES)}."
        )
    return FAMILIES[name]


def is_supernet(cfg) -> bool:
    """Whether the config builds a supernet rather than one network."""
    return cfg.MODEL.SUPERNET.SPACE != "none" and cfg.MODEL.SUPERNET.PATH_SAMPLER != "fixed"


def build_search_space(cfg) -> SearchSpace | None:
    """The space that ``MODEL.SUPERNET.SPACE`` names, ``None`` for ``none``."""
    kind = cfg.MODEL.SUPERNET.SPACE
    if kind not in SPACES:
        raise ValueError(f"MODEL.SUPERNET.SPACE is '{kind}'; expected one of {', '.join(SPACES)}.")
    family = build_family(cfg)
    if kind == "none":
        return None
    return family.stage_space(cfg.MODEL.SUPERNET.STAGE_OPTIONS)


def build_genotype(cfg) -> Genotype | None:
    """The genotype of ``MODEL.GENOTYPE``, checked against the space; ``None`` where it is empty.

    Raises:
        ValueError: a wrong number of stages, or values outside the space.
    """
    genotype = Genotype.from_config(cfg.MODEL.GENOTYPE)
    if genotype == Genotype():
        return None
    space = build_search_space(cfg)
    if space is not None:
        space.validate(genotype)
    stages = build_family(cfg).stages
    if len(genotype.depths) != len(stages):
        raise ValueError(
            f"MODEL.GENOTYPE.DEPTHS is {list(genotype.depths)}; the family "
            f"'{cfg.MODEL.SUPERNET.FAMILY}' has {len(stages)} stages ({', '.join(stages)})."
        )
    return genotype


def build_budget(cfg) -> Budget | None:
    """The limits of ``SEARCH.BUDGET``, ``None`` where there are none."""
    limits = cfg.SEARCH.BUDGET.BLOCKS
    if not limits:
        return None
    if len(limits) != 2 or limits[0] > limits[1]:
        raise ValueError(
            f"SEARCH.BUDGET.BLOCKS is {list(limits)}; expected [least, most], e.g. [16, 16]."
        )
    low, high = map(float, limits)
    return Budget("SEARCH.BUDGET.BLOCKS", low, high, build_family(cfg).stage_weights)
