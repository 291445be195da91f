"""Costs of networks, for limits, objectives and reports; registered in COST_REGISTRY."""

from .blocks import Blocks
from .build import build_budgets, build_costs, check_costs
from .counted import CountedCost, MACs, Parameters
from .counting import NetworkCost, body_cost, count_macs, count_parameters
from .detector_cost import (
    detector_cost,
    detector_macs,
    find_body,
    meta_model,
    meta_network,
    runnable_size,
)
from .entropy import Entropy
from .latency import LATENCY_FILE, Latency
from .latency_meter import LatencyMeter
from .latency_table import LatencyCheck, LatencyTable
from .most_expensive import most_expensive_path
from .step_memory import inference_memory, training_memory

__all__ = [
    "LATENCY_FILE",
    "Blocks",
    "CountedCost",
    "Entropy",
    "Latency",
    "LatencyCheck",
    "LatencyMeter",
    "LatencyTable",
    "MACs",
    "NetworkCost",
    "Parameters",
    "body_cost",
    "build_budgets",
    "build_costs",
    "check_costs",
    "count_macs",
    "count_parameters",
    "detector_cost",
    "detector_macs",
    "find_body",
    "inference_memory",
    "meta_model",
    "meta_network",
    "most_expensive_path",
    "runnable_size",
    "training_memory",
]
