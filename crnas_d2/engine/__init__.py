"""Training: trainers, hooks, path samplers and schedules."""

from .alternating_trainer import AlternatingTrainer, first_alpha_step
from .found_network import calibrated_on_train
from .gradient_exchange import GradientExchange, PathParameters
from .hooks import AlphaProgress, PathSampling
from .lr_scheduler import check_lr_scheduler
from .norms import without_sync
from .path_samplers import FairPathSampler, UniformPathSampler
from .trainer import Trainer, checkpoint_size

__all__ = [
    "AlphaProgress",
    "AlternatingTrainer",
    "FairPathSampler",
    "GradientExchange",
    "PathParameters",
    "PathSampling",
    "Trainer",
    "UniformPathSampler",
    "calibrated_on_train",
    "check_lr_scheduler",
    "checkpoint_size",
    "first_alpha_step",
    "without_sync",
]
