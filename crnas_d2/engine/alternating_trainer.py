"""The gradient-based search of NATS: weights and alpha are trained alternately, on two splits."""

from collections.abc import Callable, Iterable
from random import Random
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.engine import HookBase, SimpleTrainer, TrainerBase
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage
from torch import nn

from crnas_d2.data import build_resumable_loader
from crnas_d2.modeling import Supernet

from .path_samplers import PATH_SAMPLER_REGISTRY, PathSampler
from .solver import build_alpha_optimizer
from .step_trainer import StepTrainer


class AlternatingTrainer(TrainerBase):
    """Train the weights on a batch of one split, then alpha on a batch of the other, alternately.

    NATS sections 3.2 and 4.2. Both steps run the whole mix in training mode, so BN statistics
    follow both splits. Every parameter gets a gradient in both steps, as DistributedDataParallel
    expects; the optimizer of a step updates its own parameters, and the other gradients are
    dropped.

    All random numbers of a step follow from the seed, the iteration and the rank, and the loaders
    save their positions, so a resumed search equals the uninterrupted one.

    Args:
        weights, alphas: the two halves of an iteration, with resumable loaders.
        alpha_start: the first iteration in which alpha is trained.
    """

    def __init__(
        self, weights: SimpleTrainer, alphas: SimpleTrainer, *, alpha_start: int, seed: int
    ):
        super().__init__()
        self.weights, self.alphas, self.parts = weights, alphas, [weights, alphas]
        self.alpha_start, self.seed = alpha_start, seed
        self.model, self.optimizer = weights.model, weights.optimizer
        self.data_loader = weights.data_loader
        self.used: set[nn.Parameter] = set()  # those that the running half updates

    def run_step(self) -> None:
        self._run(self.weights, "weights")
        if self.iter >= self.alpha_start:
            self._run(self.alphas, "alpha")

    def _run(self, half: SimpleTrainer, name: str) -> None:
        # RPN and ROI heads sample boxes with the global generator of the device.
        random = Random(f"{self.seed}/{self.iter}/{name}/{comm.get_rank()}")
        torch.manual_seed(random.getrandbits(32))
        half.model.zero_grad(set_to_none=True)  # frees the gradients of the other half
        half.iter = self.iter
        self.used = {p for group in half.optimizer.param_groups for p in group["params"]}
        half.run_step()

    def state_dict(self) -> dict:
        halves = {"weights": self.weights.state_dict(), "alpha": self.alphas.state_dict()}
        return super().state_dict() | halves

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state)
        self.weights.load_state_dict(state["weights"])
        self.alphas.load_state_dict(state["alpha"])


class _AlphaTrainer(StepTrainer):
    """Logs its steps under separate names: ``alpha/loss_cls``, ``alpha/data_time``, ..."""

    def _write_metrics(self, *args: Any, **keywords: Any) -> None:
        with get_event_storage().name_scope("alpha"):
            super()._write_metrics(*args, **keywords)


@PATH_SAMPLER_REGISTRY.register("alpha")
class AlphaSampler(PathSampler):
    """All paths at once, weighted by a softmax of alpha, which is trained on ``DATASETS.ARCHVAL``.

    The optimizer of alpha is Adam at a constant rate (NATS section 4.2).
    """

    def build_steps(
        self,
        cfg: CfgNode,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        build_loader: Callable[[CfgNode], Iterable[list[dict]]],
        settings: dict[str, Any],
    ) -> AlternatingTrainer:
        archtrain = build_resumable_loader(cfg, cfg.DATASETS.TRAIN, self.seed)
        # Another seed, so that two splits of the same size are not read in the same order.
        archval = build_resumable_loader(cfg, cfg.DATASETS.ARCHVAL, self.seed + 1)
        weights = StepTrainer(model, archtrain, optimizer, **settings)
        alphas = _AlphaTrainer(model, archval, build_alpha_optimizer(cfg, model), **settings)
        start = first_alpha_step(cfg)
        return AlternatingTrainer(weights, alphas, alpha_start=start, seed=self.seed)

    def build_hooks(self, cfg: CfgNode, supernet: Supernet | None) -> list[HookBase]:
        # Steps have random numbers of their own, which nothing has to continue.
        assert supernet is not None
        return [AlphaProgress(supernet)]

    def used(
        self, model: nn.Module, supernet: Supernet, steps: AlternatingTrainer
    ) -> Callable[[], set[nn.Parameter]]:
        return lambda: steps.used


class AlphaProgress(HookBase):
    """Write the summary of a supernet to the event storage, each ``period`` and at the end."""

    def __init__(self, supernet: Supernet, period: int = 20):
        self.supernet, self.period = supernet, period

    def after_step(self) -> None:
        step = self.trainer.iter + 1
        due = step % self.period == 0 or step == self.trainer.max_iter
        if due and comm.is_main_process():
            self.trainer.storage.put_scalars(smoothing_hint=False, **self.supernet.summary())


def first_alpha_step(cfg: CfgNode) -> int:
    """Return the first iteration that trains alpha, too: the last one at the latest."""
    return min(round(cfg.SOLVER.ALPHA.START * cfg.SOLVER.MAX_ITER), cfg.SOLVER.MAX_ITER - 1)
