"""Costs, pictures and reports."""

from .budgets import LATENCY_FILE, build_budgets
from .channel_report import add_channel_search, write_channel_search
from .comparison import Run, add_networks, load_run, network_table
from .cost import Cost, CostTable, body_cost, count_macs, count_parameters
from .detector_cost import detector_cost, detector_macs, find_body, meta_network, runnable_size
from .latency import open_latency_table
from .latency_meter import LatencyMeter
from .latency_table import LatencyCheck, LatencyTable
from .page import Page
from .receptive_field import ReceptiveField, receptive_fields
from .search_report import add_search, write_candidates, write_search
from .sketch import draw_architectures, draw_channels

__all__ = [
    "LATENCY_FILE",
    "Cost",
    "CostTable",
    "LatencyCheck",
    "LatencyMeter",
    "LatencyTable",
    "Page",
    "ReceptiveField",
    "Run",
    "add_channel_search",
    "add_networks",
    "add_search",
    "body_cost",
    "build_budgets",
    "count_macs",
    "count_parameters",
    "detector_cost",
    "detector_macs",
    "draw_architectures",
    "draw_channels",
    "find_body",
    "load_run",
    "meta_network",
    "network_table",
    "open_latency_table",
    "receptive_fields",
    "runnable_size",
    "write_candidates",
    "write_channel_search",
    "write_search",
]
