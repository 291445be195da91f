"""Costs of networks, for limits, objectives and reports; registered in COST_REGISTRY."""

from .build import build_budgets, build_cost, build_costs, check_costs
from .counted import Blocks, CountedCost, MACs, Parameters, most_expensive_path
from .counting import NetworkCost, body_cost, count_macs, count_parameters, register_macs
from .detector_cost import (
    Part,
    detector_cost,
    find_body,
    meta_model,
    meta_network,
    register_heads,
    runnable_size,
)
from .entropy import Entropy
from .latency import Latency
from .step_memory import step_memory

__all__ = [
    "Blocks",
    "CountedCost",
    "Entropy",
    "Latency",
    "MACs",
    "NetworkCost",
    "Parameters",
    "Part",
    "body_cost",
    "build_budgets",
    "build_cost",
    "build_costs",
    "check_costs",
    "count_macs",
    "count_parameters",
    "detector_cost",
    "find_body",
    "meta_model",
    "meta_network",
    "most_expensive_path",
    "register_heads",
    "register_macs",
    "runnable_size",
    "step_memory",
]
