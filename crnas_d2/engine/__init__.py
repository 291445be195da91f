"""Training a supernet, and what an evaluation of its subnets needs."""

from .alternating_trainer import AlternatingTrainer
from .bn_calibration import batch_statistics, calibrated
from .checkpoint import StrictCheckpointer, TrainingCheckpointer
from .hooks import AlphaProgress, PathSampling
from .path_samplers import UniformPathSampler
from .search_setup import check_search, describe_search
from .setup import check_config, load_config
from .trainer import Trainer

__all__ = [
    "AlphaProgress",
    "AlternatingTrainer",
    "PathSampling",
    "StrictCheckpointer",
    "Trainer",
    "TrainingCheckpointer",
    "UniformPathSampler",
    "batch_statistics",
    "calibrated",
    "check_config",
    "check_search",
    "describe_search",
    "load_config",
]
