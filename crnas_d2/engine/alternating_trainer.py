"""The gradient-based search of NATS: weights and alpha are trained alternately, on two splits."""

from random import Random

import torch
from detectron2.engine import SimpleTrainer, TrainerBase
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage
from torch import nn

from crnas_d2.data import build_resumable_loader

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

    Attributes:
        model, data_loader, optimizer: those of the weights.

    Args:
        weights, alphas: the two halves of an iteration, with resumable loaders.
        alpha_start: the first iteration in which alpha is trained.
    """

    def __init__(
        self, weights: SimpleTrainer, alphas: SimpleTrainer, *, alpha_start: int, seed: int
    ):
        super().__init__()
        self.weights, self.alphas = weights, alphas
        self.alpha_start = alpha_start
        self.seed = seed
        self.model, self.data_loader = weights.model, weights.data_loader
        self.optimizer = weights.optimizer
        self._used: set[nn.Parameter] = set()

    def used(self) -> set[nn.Parameter]:
        """The parameters that the running half updates; it drops all other gradients."""
        return self._used

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
        self._used = {p for group in half.optimizer.param_groups for p in group["params"]}
        half.run_step()

    def state_dict(self) -> dict:
        state = super().state_dict()
        for name, half in (("weights", self.weights), ("alpha", self.alphas)):
            state[name] = {**half.state_dict(), "loader": half.data_loader.state_dict()}
        return state

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state)
        for name, half in (("weights", self.weights), ("alpha", self.alphas)):
            half.load_state_dict(state[name])
            half.data_loader.load_state_dict(state[name]["loader"])


class _AlphaTrainer(StepTrainer):
    """Logs its steps under separate names: ``alpha/loss_cls``, ``alpha/data_time``, ..."""

    def _write_metrics(self, loss_dict, data_time, prefix="", iter=None):
        with get_event_storage().name_scope("alpha"):
            super()._write_metrics(loss_dict, data_time, prefix, iter)


def build_alternating_trainer(
    cfg, model: nn.Module, optimizer: torch.optim.Optimizer, steps: dict
) -> AlternatingTrainer:
    """Build a trainer of the weights on ``DATASETS.TRAIN`` and alpha on ``DATASETS.ARCHVAL``.

    Args:
        model: a channel supernet, wrapped in DistributedDataParallel if there are several ranks.
        optimizer: of its weights.
        steps: arguments of a :class:`StepTrainer`, for both halves.
    """
    seed = max(cfg.SEED, 0)
    archtrain = build_resumable_loader(cfg, cfg.DATASETS.TRAIN, seed)
    # Another seed, so that two splits of the same size are not read in the same order.
    archval = build_resumable_loader(cfg, cfg.DATASETS.ARCHVAL, seed + 1)
    weights = StepTrainer(model, archtrain, optimizer, **steps)
    alphas = _AlphaTrainer(model, archval, build_alpha_optimizer(cfg, model), **steps)
    return AlternatingTrainer(weights, alphas, alpha_start=first_alpha_step(cfg), seed=seed)


def first_alpha_step(cfg) -> int:
    """Return the first iteration that trains alpha, too: the last one at the latest."""
    return min(round(cfg.SOLVER.ALPHA.START * cfg.SOLVER.MAX_ITER), cfg.SOLVER.MAX_ITER - 1)
