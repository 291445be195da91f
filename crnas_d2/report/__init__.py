"""Tables, pictures and reports."""

from .candidates_csv import write_candidates
from .channel_report import add_channel_search, write_channel_search
from .comparison import add_networks, add_retrained, network_table
from .comparison_verdict import recipe
from .drawn_detections import draw_detections
from .effective_field import EffectiveField, effective_fields, feature_names, usual_features
from .field_figure import FIELDS_EXPLAINED, add_fields, draw_fields, field_table
from .page import Page
from .provenance import own_version
from .ranked_networks import Ranking, describe_ranking, read_ranking, score_of
from .ranking import Correlation, rank_correlation
from .ranking_figures import draw_ranking, write_ranking
from .receptive_field import ReceptiveField, receptive_fields
from .run import Run, load_run
from .search_report import add_search, search_settings, write_search
from .sketch import draw_architectures, draw_channels, draw_networks
from .sketch_sources import NamedNetwork, find_network
from .training_log import read_metrics

__all__ = [
    "FIELDS_EXPLAINED",
    "Correlation",
    "EffectiveField",
    "NamedNetwork",
    "Page",
    "Ranking",
    "ReceptiveField",
    "Run",
    "add_channel_search",
    "add_fields",
    "add_networks",
    "add_retrained",
    "add_search",
    "describe_ranking",
    "draw_architectures",
    "draw_channels",
    "draw_detections",
    "draw_fields",
    "draw_networks",
    "draw_ranking",
    "effective_fields",
    "feature_names",
    "field_table",
    "find_network",
    "load_run",
    "network_table",
    "own_version",
    "rank_correlation",
    "read_metrics",
    "read_ranking",
    "receptive_fields",
    "recipe",
    "score_of",
    "search_settings",
    "usual_features",
    "write_candidates",
    "write_channel_search",
    "write_ranking",
    "write_search",
]
