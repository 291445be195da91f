"""Whole jobs, as functions: what the scripts do."""

from .checks import check_config
from .errors import JobError
from .search import check_search, load_supernet, run_search
from .train import check_training, run_training

__all__ = [
    "JobError",
    "check_config",
    "check_search",
    "check_training",
    "load_supernet",
    "run_search",
    "run_training",
]
