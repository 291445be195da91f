"""Which subnet of a supernet runs in a training step."""

from collections.abc import Callable
from random import Random

from detectron2.engine import HookBase
from detectron2.utils import comm

from crnas_d2.modeling import MixedSupernet, SinglePathSupernet
from crnas_d2.space import Choice, Genotype, SearchSpace


def build_path_sampler(cfg, space: SearchSpace) -> Callable[[int], Genotype]:
    """Build the sampler of ``MODEL.SUPERNET.PATH_SAMPLER``, ``uniform`` or ``fair``."""
    samplers = {"uniform": UniformPathSampler, "fair": FairPathSampler}
    return samplers[cfg.MODEL.SUPERNET.PATH_SAMPLER](space, seed=max(cfg.SEED, 0))


class UniformPathSampler:
    """Single-path one-shot sampling: an option is sampled uniformly per choice (CR-NAS 3.3.1).

    A sample depends only on the seed and the iteration. So all ranks sample the same path without
    communication, and a resumed run samples the same paths as an uninterrupted one.
    """

    def __init__(self, space: SearchSpace, seed: int):
        self.space = space
        self.seed = seed

    def __call__(self, iteration: int) -> Genotype:
        # A string seed goes through SHA-512: neighbouring iterations get unrelated streams.
        random = Random(f"{self.seed}/{iteration}")
        return self.space.sample(random)


class FairPathSampler:
    """Each option of a choice is sampled once per cycle, in a random order (FairNAS, ICCV 2021).

    A choice with n options has cycles of n steps. Unlike in FairNAS, where the optimizer takes one
    step for the gradients of a whole cycle, it takes one for each path. A choice that depends on
    another one is not active in each step of its cycle, so its options are fair on average only.
    A sample depends only on the seed and the iteration.
    """

    def __init__(self, space: SearchSpace, seed: int):
        self.space = space
        self.seed = seed

    def __call__(self, iteration: int) -> Genotype:
        values = {choice.name: self._option(choice, iteration) for choice in self.space.choices}
        return self.space.genotype(self.space.active(values))

    def _option(self, choice: Choice, iteration: int) -> int:
        cycle, step = divmod(iteration, len(choice.options))
        # Each choice has an order of its own, so that all pairs of options meet.
        random = Random(f"{self.seed}/{choice.name}/{cycle}")
        return random.sample(choice.options, len(choice.options))[step]


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
