"""Costs, pictures and reports."""

from .cost import Cost, CostTable, body_cost, count_macs, count_parameters, detector_macs
from .page import Page
from .search_report import write_candidates, write_report
from .sketch import draw_architectures

__all__ = [
    "Cost",
    "CostTable",
    "Page",
    "body_cost",
    "count_macs",
    "count_parameters",
    "detector_macs",
    "draw_architectures",
    "write_candidates",
    "write_report",
]
