"""From a config to the costs and the limits of its search."""

from collections.abc import Mapping

from detectron2.config import CfgNode

from crnas_d2.config import NetworkSpec
from crnas_d2.config.image_size import at_image_size, search_space
from crnas_d2.space import COST_REGISTRY, AdditiveCost, Budget, CostBySize, parse_limits


def check_costs(cfg: CfgNode) -> set[str]:
    """Return the names of all costs that are limited, minimized or reported.

    Raises ValueError for an unknown name, or malformed limits.
    """
    wanted = [("SEARCH.COSTS", name) for name in cfg.SEARCH.COSTS]
    if cfg.SEARCH.SECOND_OBJECTIVE:
        wanted.append(("SEARCH.SECOND_OBJECTIVE", cfg.SEARCH.SECOND_OBJECTIVE))
    for key, name in wanted:
        COST_REGISTRY.get(name, key)
    return {name for _, name in wanted} | set(_limits(cfg))


def build_costs(cfg: CfgNode, spec: NetworkSpec) -> dict[str, AdditiveCost]:
    """Build the costs that are limited, minimized or reported, by name, of a single-path supernet.

    They are costs of the backbone body for one image of ``SEARCH.COST_INPUT_SIZE`` or, with
    ``SEARCH.IMAGE_SIZES``, of the size of the candidate. Raises ValueError for an unknown name,
    malformed limits, or a cost that cannot be computed.
    """
    names = check_costs(cfg)
    return {name: build_cost(cfg, spec, name) for name in COST_REGISTRY.names if name in names}


def build_cost(cfg: CfgNode, spec: NetworkSpec, name: str) -> AdditiveCost:
    """Build one cost, as :func:`build_costs`."""
    cost, sizes = COST_REGISTRY.get(name), cfg.SEARCH.IMAGE_SIZES

    def table(cfg: CfgNode) -> AdditiveCost:
        height, width = cfg.SEARCH.COST_INPUT_SIZE
        found: AdditiveCost = cost(**cost.from_config(cfg)).table(spec, (height, width))
        return found

    if not sizes:
        return table(cfg)
    tables = {size: table(at_image_size(cfg, size)) for size in sizes}
    return CostBySize(name, cost.unit, search_space(cfg, spec), tables=tables)


def build_budgets(cfg: CfgNode, costs: Mapping[str, AdditiveCost]) -> tuple[Budget, ...]:
    """Build all budgets of ``SEARCH.BUDGET`` on the costs of :func:`build_costs`.

    Raises ValueError for malformed limits, or those on a cost that all genotypes have in common.
    """
    budgets = tuple(Budget(costs[name], *limits) for name, limits in _limits(cfg).items())
    for budget in budgets:
        least, greatest = budget.cost.range
        if least == greatest:
            kind, unit = budget.cost.space.kind, budget.cost.unit
            text = f"limits nothing: all networks of the {kind} space have the same {unit}."
            raise ValueError(f"{budget.limits} {text} Set it to [].")
    return budgets


def _limits(cfg: CfgNode) -> dict[str, tuple[float, float]]:
    """Return the limits by name of the cost, without costs that have none."""
    found = {}
    for name, cost in COST_REGISTRY:
        given = cfg.SEARCH.BUDGET.get(name, [])
        if (limits := parse_limits(f"SEARCH.BUDGET.{name}", given, cost.example)) is not None:
            found[name] = limits
    return found
