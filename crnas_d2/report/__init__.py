"""Tables, figures and pages of what jobs leave behind; they measure nothing and read no files."""

from .channel_report import FOUND_REPORTS, add_channel_search, write_found_network
from .comparison import add_networks, add_retrained, comparison_table
from .field_figure import FIELDS_EXPLAINED, add_fields, draw_fields, field_table
from .folds import add_folds, folds_table
from .page import Page
from .pictures import write_figure
from .ranking import describe_ranking, write_ranking
from .search_report import add_search, write_search
from .sketch import draw_networks

__all__ = [
    "FIELDS_EXPLAINED",
    "FOUND_REPORTS",
    "Page",
    "add_channel_search",
    "add_fields",
    "add_folds",
    "add_networks",
    "add_retrained",
    "add_search",
    "comparison_table",
    "describe_ranking",
    "draw_fields",
    "draw_networks",
    "field_table",
    "folds_table",
    "write_figure",
    "write_found_network",
    "write_ranking",
    "write_search",
]
