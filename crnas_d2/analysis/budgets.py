"""From a config to the limits of its search."""

import os

from crnas_d2.space import Budget, SearchSpace, build_budget, build_search_space, parse_limits

from .cost import CostTable
from .latency import open_latency_table

__all__ = ["LATENCY_FILE", "build_budgets"]

LATENCY_FILE = "latency.json"

# By key of SEARCH.BUDGET, limits as they may be.
_EXAMPLES = {"MACS": "[0, 300e6]", "PARAMETERS": "[0, 5e6]", "LATENCY": "[0, 12.5]"}


def build_budgets(cfg, space: SearchSpace | None = None) -> tuple[Budget, ...]:
    """All limits of ``SEARCH.BUDGET``.

    Costs are those of the backbone body for one image of ``SEARCH.COST_INPUT_SIZE``. Latencies are
    measured on ``MODEL.DEVICE`` and kept in ``OUTPUT_DIR/latency.json``; where that exists it is
    read.

    Args:
        cfg: of a supernet.
        space: that of ``cfg``.

    Raises:
        ValueError: malformed limits, ones that the space cannot have, or a file of latencies that
            is another one's. Whether anything is within them says
            :func:`~crnas_d2.space.check_budgets`.
    """
    blocks = build_budget(cfg)
    limits = {}
    for name, example in _EXAMPLES.items():
        key = f"SEARCH.BUDGET.{name}"
        limits[name] = parse_limits(key, cfg.SEARCH.BUDGET[name], example)
    space = space or build_search_space(cfg)
    height, width = cfg.SEARCH.COST_INPUT_SIZE
    budgets = [] if blocks is None else [blocks]
    if not any(limits.values()):
        return tuple(budgets)
    costs = CostTable(cfg, space, (height, width))
    for name in ("MACS", "PARAMETERS"):
        if limits[name]:
            budgets.append(costs.budget(f"SEARCH.BUDGET.{name}", limits[name], name.lower()))
    if limits["LATENCY"]:
        latencies = open_latency_table(cfg, costs, os.path.join(cfg.OUTPUT_DIR, LATENCY_FILE))
        budgets.append(latencies.budget("SEARCH.BUDGET.LATENCY", limits["LATENCY"]))
    return tuple(budgets)
