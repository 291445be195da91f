"""What runs in each step of a training: path samplers, by name in ``PATH_SAMPLER_REGISTRY``."""

from collections.abc import Callable, Collection, Iterable
from random import Random
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.engine import HookBase
from torch import nn

from crnas_d2.common.registry import Registry
from crnas_d2.modeling import Supernet
from crnas_d2.space import Genotype, SearchSpace

from .gradient_exchange import path_parameters
from .hooks import ContinuedRandomness
from .step_trainer import StepTrainer

PATH_SAMPLER_REGISTRY = Registry("PATH_SAMPLER", "MODEL.SUPERNET.PATH_SAMPLER")
"""Path samplers by the names of ``MODEL.SUPERNET.PATH_SAMPLER``, subclasses of PathSampler.

A kind of space lists those that train its supernet (``SpaceKind.path_samplers``). The trainer
builds one as ``sampler(space, seed=seed)`` and asks it for the object that runs the steps, for
hooks, and for the parameters whose gradients processes exchange. ``fixed`` is that of one network.
"""


class PathSampler:
    """How the steps of a training run, see :data:`PATH_SAMPLER_REGISTRY`.

    By default a step is one of a :class:`StepTrainer`, before which a supernet with paths switches
    to the genotype that the sampler returns for the iteration.

    Args:
        space: of the supernet; ``None`` for one network.
    """

    def __init__(self, space: Any, seed: int = 0):
        self.space, self.seed = space, seed

    def __call__(self, iteration: int) -> Genotype:
        """Return the genotype that runs in an iteration, the same on all ranks."""
        raise NotImplementedError(f"{type(self).__name__} samples no paths")

    def build_steps(
        self,
        cfg: CfgNode,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        build_loader: Callable[[CfgNode], Iterable[list[dict]]],
        settings: dict[str, Any],
    ) -> Any:
        """Build what runs a step: a ``TrainerBase`` with a list ``parts`` of step trainers.

        Args:
            model: wrapped in DistributedDataParallel if there are several ranks.
            optimizer: of all parameters but ``Supernet.alphas``.
            build_loader: builds the loader of ``DATASETS.TRAIN``.
            settings: keyword arguments of a :class:`StepTrainer`.
        """
        return StepTrainer(model, build_loader(cfg), optimizer, **settings)

    def build_hooks(self, cfg: CfgNode, supernet: Supernet | None) -> list[HookBase]:
        """Build hooks that run before all others."""
        hooks: list[HookBase] = [ContinuedRandomness(cfg.SOLVER.CHECKPOINT_PERIOD)]
        if supernet is not None and supernet.has_paths:
            hooks.append(PathSampling(supernet, self))
        return hooks

    def used(
        self, model: nn.Module, supernet: Supernet, steps: Any
    ) -> Callable[[], Collection[nn.Parameter]]:
        """Return a function that returns the parameters whose gradients the current step uses.

        ``model`` is without DistributedDataParallel; ``steps`` are those of :meth:`build_steps`.
        """
        return path_parameters(model, supernet)


def build_path_sampler(cfg: CfgNode, supernet: Supernet | None) -> PathSampler:
    """Build the sampler of ``MODEL.SUPERNET.PATH_SAMPLER``; that of one network is ``fixed``."""
    name = "fixed" if supernet is None else cfg.MODEL.SUPERNET.PATH_SAMPLER
    space = None if supernet is None else supernet.space
    return PATH_SAMPLER_REGISTRY.get(name)(space, seed=max(cfg.SEED, 0))


@PATH_SAMPLER_REGISTRY.register("fixed")
class FixedPath(PathSampler):
    """One network, all of which runs in each step."""


@PATH_SAMPLER_REGISTRY.register("uniform")
class UniformPathSampler(PathSampler):
    """Single-path one-shot sampling: an option is sampled uniformly per choice (CR-NAS 3.3.1).

    A sample depends only on the seed and the iteration: all ranks sample the same path without
    communication, and a resumed run the same paths as an uninterrupted one.
    """

    space: SearchSpace

    def __call__(self, iteration: int) -> Genotype:
        # A string seed goes through SHA-512: neighbouring iterations get unrelated streams.
        return self.space.sample(Random(f"{self.seed}/{iteration}"))


@PATH_SAMPLER_REGISTRY.register("fair")
class FairPathSampler(PathSampler):
    """Each option of a choice is sampled once per cycle, in a random order (FairNAS, ICCV 2021).

    A choice with n options has cycles of n steps. The optimizer takes one step for each path, in
    FairNAS one for the gradients of a whole cycle. A choice that depends on another one is not
    active in each step of its cycle, so its options are fair on average only. A sample depends only
    on the seed and the iteration.
    """

    space: SearchSpace

    def __call__(self, iteration: int) -> Genotype:
        values = {}
        for choice in self.space.choices:
            number = len(choice.options)
            cycle, step = divmod(iteration, number)
            # Each choice has an order of its own, so that all pairs of options meet.
            random = Random(f"{self.seed}/{choice.name}/{cycle}")
            values[choice.name] = random.sample(choice.options, number)[step]
        return self.space.genotype(self.space.active(values))


class PathSampling(HookBase):
    """Switch the supernet to the path that is sampled for an iteration, before each step."""

    def __init__(self, supernet: Supernet, path_sampler: Callable[[int], Genotype]):
        self.supernet, self.path_sampler = supernet, path_sampler

    def before_step(self) -> None:
        self.supernet.set_path(self.path_sampler(self.trainer.iter))
