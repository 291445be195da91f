"""Tables, pictures and reports."""

from .candidates_csv import write_candidates
from .channel_report import add_channel_search, write_channel_search
from .comparison import add_networks, add_retrained, network_table
from .drawn_detections import draw_detections
from .page import Page
from .provenance import own_version
from .ranking import Correlation, describe_ranking, rank_correlation
from .receptive_field import ReceptiveField, receptive_fields
from .run import Run, load_run
from .search_report import add_search, search_settings, write_search
from .sketch import draw_architectures, draw_channels, draw_networks
from .sketch_sources import NamedNetwork, find_network
from .training_log import read_metrics

__all__ = [
    "Correlation",
    "NamedNetwork",
    "Page",
    "ReceptiveField",
    "Run",
    "add_channel_search",
    "add_networks",
    "add_retrained",
    "add_search",
    "describe_ranking",
    "draw_architectures",
    "draw_channels",
    "draw_detections",
    "draw_networks",
    "find_network",
    "load_run",
    "network_table",
    "own_version",
    "rank_correlation",
    "read_metrics",
    "receptive_fields",
    "search_settings",
    "write_candidates",
    "write_channel_search",
    "write_search",
]
