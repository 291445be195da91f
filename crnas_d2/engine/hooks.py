"""Trainer hooks of supernet training."""

from collections.abc import Callable

from detectron2.engine import HookBase
from detectron2.utils import comm
from torch import nn

from crnas_d2.modeling import Supernet, alpha_summary
from crnas_d2.space import ChannelSpace, Genotype

__all__ = ["AlphaProgress", "PathSampling"]


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


class AlphaProgress(HookBase):
    """Writes how far a channel search is into the event storage, see :func:`alpha_summary`.

    Args:
        model: the channel supernet.
        period: iterations between two entries; the last step has one, too.
    """

    def __init__(self, model: nn.Module, space: ChannelSpace, period: int = 20):
        self.model = model
        self.space = space
        self.period = period

    def after_step(self) -> None:
        step = self.trainer.iter + 1
        due = step % self.period == 0 or step == self.trainer.max_iter
        if due and comm.is_main_process():
            summary = alpha_summary(self.model, self.space)
            self.trainer.storage.put_scalars(smoothing_hint=False, **summary)
