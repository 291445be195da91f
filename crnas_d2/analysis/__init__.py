"""Costs, pictures and reports."""

from .comparison import Run, add_networks, load_run, network_table
from .cost import Cost, CostTable, body_cost, count_macs, count_parameters, detector_macs
from .page import Page
from .search_report import add_search, write_candidates
from .sketch import draw_architectures

__all__ = [
    "Cost",
    "CostTable",
    "Page",
    "Run",
    "add_networks",
    "add_search",
    "body_cost",
    "count_macs",
    "count_parameters",
    "detector_macs",
    "draw_architectures",
    "load_run",
    "network_table",
    "write_candidates",
]
