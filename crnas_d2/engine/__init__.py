"""Training: trainers, hooks, path samplers and schedules."""

from .alternating_trainer import AlternatingTrainer
from .hooks import AlphaProgress, PathSampling
from .lr_scheduler import check_lr_scheduler
from .path_samplers import UniformPathSampler
from .trainer import Trainer

__all__ = [
    "AlphaProgress",
    "AlternatingTrainer",
    "PathSampling",
    "Trainer",
    "UniformPathSampler",
    "check_lr_scheduler",
]
