"""The jobs that the scripts run, as functions."""

from .checks import check_config
from .entry import one_line_errors
from .errors import JobError
from .search import run_search
from .search_plan import check_search
from .stand_alone import StandAloneRun, score_networks, train_networks
from .subnets import load_supernet
from .train import check_resumable, check_training, has_checkpoint, run_training

__all__ = [
    "JobError",
    "StandAloneRun",
    "check_config",
    "check_resumable",
    "check_search",
    "check_training",
    "has_checkpoint",
    "load_supernet",
    "one_line_errors",
    "run_search",
    "run_training",
    "score_networks",
    "train_networks",
]
