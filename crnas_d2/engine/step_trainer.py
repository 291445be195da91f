"""A training step of several micro-batches, in mixed precision where that is asked for."""

import logging
import time
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from functools import reduce
from operator import add
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.engine import SimpleTrainer
from detectron2.utils import comm
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from crnas_d2.common.errors import invalid

logger = logging.getLogger(__name__)


def step_settings(cfg: CfgNode) -> dict[str, Any]:
    """Return arguments of a :class:`StepTrainer`; raise ValueError for images that do not split."""
    images, parts = cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.GRADIENT_ACCUMULATION
    world_size, amp = comm.get_world_size(), cfg.SOLVER.AMP
    if images % (parts * world_size):
        why = f"because {world_size} processes split their images into {parts} micro-batches each"
        expected = f"a multiple of {parts * world_size}, {why} (SOLVER.GRADIENT_ACCUMULATION)"
        raise invalid("SOLVER.IMS_PER_BATCH", images, expected)
    precision = getattr(torch, amp.PRECISION) if amp.ENABLED else None
    return {"micro_batches": parts, "precision": precision}


class StepTrainer(SimpleTrainer):
    """Detectron2's ``SimpleTrainer``, with gradient accumulation and mixed precision.

    The images of this process are split into micro-batches, which run forward and backward one
    after the other. The loss of a step is the mean of theirs, and the optimizer takes one step, so
    a network without BN is trained as with all images at once, up to rounding and to what it draws
    at random. All of them run the same path of a supernet, whose gradient would otherwise be a
    mixture that no other run has. Processes exchange gradients in the last one only. BN sees one
    micro-batch at a time, and its running statistics are updated for each.

    Mixed precision is that of ``AMPTrainer``, on any device that has autocast; only ``float16``
    scales the loss, because gradients in ``bfloat16`` do not underflow.

    Args:
        micro_batches: number of equal parts of a batch.
        precision: ``torch.float16`` or ``torch.bfloat16``; ``None`` for full precision.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Iterable[list[dict]],
        optimizer: torch.optim.Optimizer,
        *,
        micro_batches: int = 1,
        precision: torch.dtype | None = None,
    ):
        # Gradients of the step before would take memory during the forward pass.
        super().__init__(model, data_loader, optimizer, zero_grad_before_forward=True)
        self.micro_batches, self.precision = micro_batches, precision
        self.device = next(model.parameters()).device.type
        self.grad_scaler = torch.amp.GradScaler(self.device, enabled=precision is torch.float16)

    @property
    def parts(self) -> "list[StepTrainer]":
        return [self]

    def run_step(self) -> None:
        assert self.model.training
        start = time.perf_counter()
        batch = next(self._data_loader_iter)
        data_time = time.perf_counter() - start
        self.optimizer.zero_grad()
        assert len(batch) % self.micro_batches == 0, (len(batch), self.micro_batches)
        size = len(batch) // self.micro_batches
        parts = [batch[start : start + size] for start in range(0, len(batch), size)]
        losses = [self._backward(part, is_last=part is parts[-1]) for part in parts]
        self.after_backward()
        mean = {name: reduce(add, (p[name] for p in losses)) / len(losses) for name in losses[0]}
        self._write_metrics(mean, data_time)
        self.grad_scaler.step(self.optimizer)  # divides the gradients by the scale first
        self.grad_scaler.update()

    def forward(self, model: nn.Module, batch: list[dict]) -> Mapping[str, torch.Tensor]:
        """Return the losses of a micro-batch in the precision of the training."""
        with torch.autocast(self.device, self.precision, enabled=self.precision is not None):
            losses = model(batch)
        return {"total_loss": losses} if isinstance(losses, torch.Tensor) else losses

    def _backward(self, batch: list[dict], *, is_last: bool) -> dict[str, torch.Tensor]:
        is_parallel = isinstance(self.model, DistributedDataParallel)
        with self.model.no_sync() if is_parallel and not is_last else nullcontext():
            losses = self.forward(self.model, batch)
            self.grad_scaler.scale(total_loss(losses) / self.micro_batches).backward()
        return {name: loss.detach() for name, loss in losses.items()}

    def state_dict(self) -> dict:
        state = super().state_dict()
        if hasattr(self.data_loader, "state_dict"):
            state["loader"] = self.data_loader.state_dict()
        if self.grad_scaler.is_enabled():
            state["grad_scaler"] = self.grad_scaler.state_dict()
        return state

    def load_state_dict(self, state: dict) -> None:
        # A file has rates and decays, too; those of the config, which may have changed, count.
        groups = self.optimizer.param_groups
        settings = [{k: v for k, v in group.items() if k != "params"} for group in groups]
        super().load_state_dict(state)
        for group, own in zip(self.optimizer.param_groups, settings, strict=True):
            group.update(own)
        if "loader" in state:
            self.data_loader.load_state_dict(state["loader"])
        else:
            logger.warning("The loader of the images cannot be continued: they start over.")
        # A training may go on in another precision than it began.
        if self.grad_scaler.is_enabled() and state.get("grad_scaler"):
            self.grad_scaler.load_state_dict(state["grad_scaler"])


def total_loss(losses: Mapping[str, torch.Tensor]) -> torch.Tensor:
    return reduce(add, losses.values())
