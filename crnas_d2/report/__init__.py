"""Tables, pictures and reports."""

from .candidates_csv import write_candidates
from .channel_report import (
    FOUND_REPORTS,
    add_channel_search,
    write_channel_search,
    write_found_network,
)
from .comparison import add_networks, add_retrained, network_table
from .comparison_verdict import recipe
from .field_figure import FIELDS_EXPLAINED, add_fields, draw_fields, field_table
from .page import Page
from .provenance import own_version
from .ranking_figures import draw_ranking, write_ranking
from .search_report import add_search, search_settings, write_search
from .sketch import draw_architectures, draw_channels, draw_networks

__all__ = [
    "FIELDS_EXPLAINED",
    "FOUND_REPORTS",
    "Page",
    "add_channel_search",
    "add_fields",
    "add_networks",
    "add_retrained",
    "add_search",
    "draw_architectures",
    "draw_channels",
    "draw_fields",
    "draw_networks",
    "draw_ranking",
    "field_table",
    "network_table",
    "own_version",
    "recipe",
    "search_settings",
    "write_candidates",
    "write_channel_search",
    "write_found_network",
    "write_ranking",
    "write_search",
]
