"""The jobs that the scripts run, as functions."""

from .checks import check_config
from .entry import one_line_errors
from .errors import JobError
from .export import FORMATS, Export, run_export
from .predict import Prediction, run_prediction
from .receptive_fields import field_images, measure_fields
from .search import run_search
from .search_plan import check_search
from .stand_alone import StandAloneRun, score_networks, train_networks
from .subnets import load_supernet
from .train import check_resumable, check_training, has_checkpoint, run_training
from .trained_network import TrainedNetwork, load_network, network_config

__all__ = [
    "FORMATS",
    "Export",
    "JobError",
    "Prediction",
    "StandAloneRun",
    "TrainedNetwork",
    "check_config",
    "check_resumable",
    "check_search",
    "check_training",
    "field_images",
    "has_checkpoint",
    "load_network",
    "load_supernet",
    "measure_fields",
    "network_config",
    "one_line_errors",
    "run_export",
    "run_prediction",
    "run_search",
    "run_training",
    "score_networks",
    "train_networks",
]
