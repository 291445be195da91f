"""The jobs that the scripts run, as functions."""

from .checks import check_config
from .entry import one_line_errors
from .errors import JobError
from .export import FORMATS, Export, run_export
from .predict import Prediction, run_prediction
from .receptive_fields import field_images, measure_fields
from .sampled_networks import SAMPLINGS, sample_networks
from .scored_networks import score_networks
from .search import run_search
from .search_plan import check_search
from .stand_alone import StandAloneRun, finished_trainings, recipe_settings
from .stand_alone_trainings import check_runs, train_networks
from .subnets import load_supernet
from .train import check_resumable, check_training, has_checkpoint, run_training
from .trained_network import TrainedNetwork, load_network, network_config

__all__ = [
    "FORMATS",
    "SAMPLINGS",
    "Export",
    "JobError",
    "Prediction",
    "StandAloneRun",
    "TrainedNetwork",
    "check_config",
    "check_resumable",
    "check_runs",
    "check_search",
    "check_training",
    "field_images",
    "finished_trainings",
    "has_checkpoint",
    "load_network",
    "load_supernet",
    "measure_fields",
    "network_config",
    "one_line_errors",
    "recipe_settings",
    "run_export",
    "run_prediction",
    "run_search",
    "run_training",
    "sample_networks",
    "score_networks",
    "train_networks",
]
