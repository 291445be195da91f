"""From a config to the search space and the budget it describes."""

from dataclasses import replace

from .budget import Budget, parse_limits
from .channel_settings import build_channel_space
from .channel_space import ChannelSpace
from .families import FAMILIES, Family
from .genotype import Genotype
from .search_space import SearchSpace

__all__ = [
    "build_budget",
    "build_channels",
    "build_family",
    "build_genotype",
    "build_search_space",
    "is_channel_search",
    "is_supernet",
]

SPACES = ("none", "stage", "operation", "channel")


def build_family(cfg) -> Family:
    """The family of ``MODEL.SUPERNET.FAMILY``.

    Raises:
        ValueError: an unknown one, or a genotype of another.
    """
    name = cfg.MODEL.SUPERNET.FAMILY
    if name not in FAMILIES:
        raise ValueError(
            f"MODEL.SUPERNET.FAMILY is '{name}'; known families: {', '.join(FAMILIES)}."
        )
    genotype_family = cfg.MODEL.GENOTYPE.FAMILY
    if genotype_family not in ("", name):
        raise ValueError(
            f"MODEL.GENOTYPE is one of the family '{genotype_family}', but MODEL.SUPERNET.FAMILY "
            f"is '{name}'. Inherit from a base config of its own family, or from another genotype."
        )
    return FAMILIES[name]


def is_supernet(cfg) -> bool:
    """Whether the config builds a supernet rather than one network."""
    return cfg.MODEL.SUPERNET.SPACE != "none" and cfg.MODEL.SUPERNET.PATH_SAMPLER != "fixed"


def is_channel_search(cfg) -> bool:
    """Whether the config builds a channel supernet, which is searched while it is trained."""
    return cfg.MODEL.SUPERNET.SPACE == "channel" and is_supernet(cfg)


def build_search_space(cfg) -> SearchSpace | ChannelSpace | None:
    """The space that ``MODEL.SUPERNET.SPACE`` names, ``None`` for ``none``.

    Raises:
        ValueError: an unknown space, one that the family does not have, or a ``MODEL.GENOTYPE``
            that cannot be its base.
    """
    kind = cfg.MODEL.SUPERNET.SPACE
    if kind not in SPACES:
        raise ValueError(f"MODEL.SUPERNET.SPACE is '{kind}'; expected one of {', '.join(SPACES)}.")
    family = build_family(cfg)
    if kind == "none":
        return None
    if kind == "stage":
        _check_has_stage_space(cfg, family)
        return family.stage_space(cfg.MODEL.SUPERNET.STAGE_OPTIONS)
    if kind == "channel":
        return build_channels(cfg)
    return family.operation_space(_depths(cfg, family))


def build_channels(cfg) -> ChannelSpace:
    """The space of ``MODEL.SUPERNET.CHANNEL``, on the depths and operations of ``MODEL.GENOTYPE``.

    Whatever is searched: a genotype with ``CHANNELS`` is one of it.

    Raises:
        ValueError: a family without one, or values that do not fit.
    """
    family = build_family(cfg)
    if not family.has_channel_space:
        others = ", ".join(name for name, other in FAMILIES.items() if other.has_channel_space)
        raise ValueError(
            f"The family '{cfg.MODEL.SUPERNET.FAMILY}' has no channel space, which NATS searches "
            f"in: {others}. Set MODEL.SUPERNET.FAMILY to it, or MODEL.SUPERNET.SPACE to another "
            "space and MODEL.GENOTYPE.CHANNELS to []."
        )
    genotype = replace(Genotype.from_config(cfg.MODEL.GENOTYPE), depths=_depths(cfg, family))
    if genotype.ops:
        _check_ops(genotype, family)
    return build_channel_space(cfg, genotype, family.stages)


def build_genotype(cfg) -> Genotype:
    """The one network that the config names.

    That is ``MODEL.GENOTYPE`` or, where it has no ``DEPTHS``, the allocation published for the
    ``DEPTH`` in the family's section of the config, e.g. ``MODEL.RESNETS.DEPTH``.

    Raises:
        ValueError: values outside the space or the family, or nothing that names a network.
    """
    family = build_family(cfg)
    supernet = cfg.MODEL.SUPERNET
    genotype = Genotype.from_config(cfg.MODEL.GENOTYPE)
    field = {"stage": "depths", "operation": "ops", "channel": "channels"}.get(supernet.SPACE)
    if field and not getattr(genotype, field):
        raise ValueError(
            f"MODEL.SUPERNET.PATH_SAMPLER is '{supernet.PATH_SAMPLER}', which asks for one network "
            f"of the {supernet.SPACE} space, but MODEL.GENOTYPE.{field.upper()} is empty: add a "
            "genotype.yaml to _BASE_, or set MODEL.SUPERNET.SPACE to 'none' for the published "
            "network."
        )
    genotype = replace(genotype, depths=_depths(cfg, family))
    space = build_search_space(cfg)
    if genotype.ops:
        _check_ops(genotype, family)
    if genotype.channels:
        build_channels(cfg).validate(genotype)
    if space is not None and space.kind != "channel":
        space.validate(genotype)
    return genotype


def _check_has_stage_space(cfg, family: Family) -> None:
    if not family.stage_options:
        others = [name for name, other in FAMILIES.items() if other.stage_options]
        raise ValueError(
            "MODEL.SUPERNET.SPACE is 'stage', but no paper varies the number of blocks of the "
            f"family '{cfg.MODEL.SUPERNET.FAMILY}'. Families with a stage space: "
            f"{', '.join(others)}. Set MODEL.SUPERNET.SPACE to 'operation', or "
            "MODEL.SUPERNET.FAMILY to one of these."
        )


def _depths(cfg, family: Family) -> tuple[int, ...]:
    """``MODEL.GENOTYPE.DEPTHS``, else those published for the network."""
    depths = Genotype.from_config(cfg.MODEL.GENOTYPE).depths
    if not depths:
        published, section = family.baseline_depths, family.depth_section
        layers = cfg.MODEL[section].DEPTH if section else next(iter(published))
        if layers not in published:
            raise ValueError(
                f"MODEL.{section}.DEPTH is {layers}; published depths: "
                f"{', '.join(map(str, published))}. Set MODEL.GENOTYPE.DEPTHS for another "
                "allocation."
            )
        return published[layers]
    if len(depths) != len(family.stages):
        raise ValueError(
            f"MODEL.GENOTYPE.DEPTHS is {list(depths)}; the family '{cfg.MODEL.SUPERNET.FAMILY}' "
            f"has {len(family.stages)} stages ({', '.join(family.stages)})."
        )
    return depths


def _check_ops(genotype: Genotype, family: Family) -> None:
    ops, blocks = genotype.ops, sum(genotype.depths)
    if len(ops) != blocks:
        raise ValueError(
            f"MODEL.GENOTYPE.OPS has {len(ops)} values, {list(ops)}; DEPTHS "
            f"{list(genotype.depths)} has {blocks} blocks, and each needs one."
        )
    for stage, codes in zip(family.stages, genotype.ops_of_stages(), strict=True):
        known = family.operations_of(stage)
        if not set(codes) <= set(known):
            names = ", ".join(f"{code} ({family.operations[code]})" for code in known)
            raise ValueError(
                f"MODEL.GENOTYPE.OPS is {list(ops)}, of which {list(codes)} are those of {stage}; "
                f"expected {names}."
            )


def build_budget(cfg) -> Budget | None:
    """The limits of ``SEARCH.BUDGET.BLOCKS``, ``None`` where there are none.

    Raises:
        ValueError: malformed limits, or a space in which all networks have the same blocks.
    """
    key, values = "SEARCH.BUDGET.BLOCKS", cfg.SEARCH.BUDGET.BLOCKS
    limits = parse_limits(key, values, "[16, 16]")
    if limits is None:
        return None
    if cfg.MODEL.SUPERNET.SPACE != "stage":
        raise ValueError(
            f"{key} is {list(values)}, but all networks of the {cfg.MODEL.SUPERNET.SPACE} space "
            "have the same blocks. Set it to []."
        )
    choices, weights = build_search_space(cfg).choices, build_family(cfg).stage_weights
    costs = tuple(
        {blocks: weight * blocks for blocks in choice.options}
        for choice, weight in zip(choices, weights, strict=True)
    )
    return Budget(key, *limits, costs)
