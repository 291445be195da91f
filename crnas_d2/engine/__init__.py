"""Training: trainers, hooks, path samplers and schedules."""

from .alternating_trainer import AlphaProgress, AlternatingTrainer, first_alpha_step
from .found_network import without_sync
from .gradient_exchange import GradientExchange, path_parameters
from .path_samplers import (
    PATH_SAMPLER_REGISTRY,
    FairPathSampler,
    PathSampler,
    PathSampling,
    UniformPathSampler,
)
from .solver import check_lr_scheduler
from .trainer import Trainer, checkpoint_size

__all__ = [
    "PATH_SAMPLER_REGISTRY",
    "AlphaProgress",
    "AlternatingTrainer",
    "FairPathSampler",
    "GradientExchange",
    "PathSampler",
    "PathSampling",
    "Trainer",
    "UniformPathSampler",
    "check_lr_scheduler",
    "checkpoint_size",
    "first_alpha_step",
    "path_parameters",
    "without_sync",
]
