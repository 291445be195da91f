"""Trainer hooks of supernet training."""

from collections.abc import Callable

from detectron2.engine import HookBase
from detectron2.engine.hooks import PreciseBN
from detectron2.utils import comm

from crnas_d2.modeling import MixedSupernet, SinglePathSupernet
from crnas_d2.space import Genotype


class PathSampling(HookBase):
    """Switch the supernet to the sampled path before each step.

    Args:
        supernet: the one to switch.
        path_sampler: maps an iteration to the genotype that runs in it.
    """

    def __init__(self, supernet: SinglePathSupernet, path_sampler: Callable[[int], Genotype]):
        self.supernet = supernet
        self.path_sampler = path_sampler

    def before_step(self) -> None:
        self.supernet.set_path(self.path_sampler(self.trainer.iter))


class AlphaProgress(HookBase):
    """Write the progress of a channel search to the event storage.

    Args:
        supernet: whose :meth:`~crnas_d2.modeling.MixedSupernet.summary` to write.
        period: iterations between two entries; there is also one for the last iteration.
    """

    def __init__(self, supernet: MixedSupernet, period: int = 20):
        self.supernet = supernet
        self.period = period

    def after_step(self) -> None:
        step = self.trainer.iter + 1
        due = step % self.period == 0 or step == self.trainer.max_iter
        if due and comm.is_main_process():
            self.trainer.storage.put_scalars(smoothing_hint=False, **self.supernet.summary())


class RepeatedPreciseBN(PreciseBN):
    """Detectron2's hook, on the same images each time, so that a resumed training agrees.

    Args:
        hook: the one to replace, with a loader that can be resumed.
    """

    def __init__(self, hook: PreciseBN):
        self.__dict__.update(vars(hook))
        self._start = self._data_loader.state_dict()

    def update_stats(self) -> None:
        self._data_iter = None
        self._data_loader.load_state_dict(self._start)
        super().update_stats()

    def state_dict(self) -> dict:
        return {"loader": self._start}

    def load_state_dict(self, state: dict) -> None:
        self._start = state["loader"]
