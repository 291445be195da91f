"""Trainer hooks of supernet training."""

from collections.abc import Callable

from detectron2.engine import HookBase

from crnas_d2.modeling import Supernet
from crnas_d2.space import Genotype

__all__ = ["PathSampling"]


class PathSampling(HookBase):
    """Switches the supernet to the sampled path before each step.

    Args:
        supernet: the backbone to switch.
        path_sampler: from the iteration to the genotype that runs in it.
    """

    def __init__(self, supernet: Supernet, path_sampler: Callable[[int], Genotype]):
        self.supernet = supernet
        self.path_sampler = path_sampler

    def before_step(self) -> None:
        self.supernet.set_path(self.path_sampler(self.trainer.iter))
