"""Training of supernets and of single networks."""

import logging
import weakref
from contextlib import nullcontext
from importlib.util import find_spec as find_module
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer, HookBase, TrainerBase
from detectron2.engine.defaults import create_ddp_model
from detectron2.engine.hooks import PreciseBN
from detectron2.modeling import build_model
from detectron2.utils import comm
from detectron2.utils.events import EventWriter, TensorboardXWriter
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from crnas_d2.checkpoint import FINAL, TrainingCheckpointer, describe_network
from crnas_d2.data import build_test_loader, build_train_loader, class_record
from crnas_d2.evaluation import build_evaluator
from crnas_d2.layers import resolve_norm
from crnas_d2.modeling import find_supernet

from .found_network import found_network, replace_norms, without_parallel
from .gradient_exchange import GradientExchange
from .hooks import RepeatedPreciseBN, StopOnSignal
from .path_samplers import build_path_sampler
from .peak_memory import check_peak_memory
from .run_record import RUN, run_record
from .solver import build_lr_scheduler, build_optimizer
from .step_trainer import step_settings

logger = logging.getLogger(__name__)

# Where Detectron2's dense detectors keep a running mean of the positive anchors, not as a tensor.
_NORMALIZER = "loss_normalizer"


class Trainer(DefaultTrainer):
    """Detectron2's default trainer, whose steps are those of ``PATH_SAMPLER_REGISTRY``."""

    def __init__(self, cfg: CfgNode):
        # The steps of DefaultTrainer.__init__, which fixes the arguments of DDP. Here DDP needs
        # find_unused_parameters, because parameters off the path get no gradient in a step.
        TrainerBase.__init__(self)
        written = cfg
        cfg = self.auto_scale_workers(cfg, comm.get_world_size())
        settings = step_settings(cfg)
        model = self.build_model(cfg)
        supernet = find_supernet(model)
        sampler = build_path_sampler(cfg, supernet)
        optimizer = self.build_optimizer(cfg, model)
        model = create_ddp_model(
            model,
            broadcast_buffers=False,
            find_unused_parameters=supernet is not None and supernet.has_paths,
            **({} if cfg.MODEL.DEVICE.startswith("cuda") else {"device_ids": None}),
        )
        parts = (model, optimizer, self.build_train_loader, settings)
        self._trainer = sampler.build_steps(cfg, *parts)
        if isinstance(model, DistributedDataParallel) and supernet is not None:
            GradientExchange(sampler.used(model.module, supernet, self._trainer)).register(model)
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.run = run_record(written, [part.data_loader for part in self._trainer.parts])
        self.checkpointer = TrainingCheckpointer(
            model,
            cfg.OUTPUT_DIR,
            inherit=cfg.MODEL.INHERIT,
            network=describe_network(cfg),
            max_to_keep=cfg.SOLVER.CHECKPOINT_MAX_TO_KEEP,
            record={**class_record(cfg), RUN: self.run},
            trainer=weakref.proxy(self),
        )
        self.results: dict | None = None
        self.cfg, self.start_iter, self.max_iter = cfg, 0, cfg.SOLVER.MAX_ITER
        # Before the other hooks, so that they see the path that will run.
        self.register_hooks(sampler.build_hooks(cfg, supernet))
        self._stop_on_signal = StopOnSignal()
        self.register_hooks([*self.build_hooks(), self._stop_on_signal])

    def state_dict(self) -> dict:
        state = super().state_dict()
        if hasattr(self.plain_model, _NORMALIZER):
            state[_NORMALIZER] = getattr(self.plain_model, _NORMALIZER)
        return state

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state)
        if _NORMALIZER in state:
            setattr(self.plain_model, _NORMALIZER, state[_NORMALIZER])
        # The optimizer has the settings of the config, see StepTrainer, and so has the schedule.
        groups = self._trainer.optimizer.param_groups
        self.scheduler.base_lrs = [group["initial_lr"] for group in groups]
        for group, rate in zip(groups, self.scheduler.get_lr(), strict=True):
            group["lr"] = rate

    @property
    def plain_model(self) -> nn.Module:
        """The model without DistributedDataParallel around it."""
        return without_parallel(self.model)

    def train(self) -> dict | None:
        """Train up to ``SOLVER.MAX_ITER``; return the results of the last evaluation, if expected.

        On a GPU, its memory is checked first, see :func:`check_peak_memory`.

        On a CPU, scripted losses (RetinaNet's) are not optimized: torch would do that after their
        first calls in a process, so a resumed training would round them in another way.
        """
        if self.start_iter >= self.max_iter and self.checkpointer.resumed != FINAL:
            # It was killed between its last steps and the end, or the final file is damaged.
            self.checkpointer.save(Path(FINAL).stem, iteration=self.start_iter - 1)
        if self.start_iter < self.max_iter:
            parts = self._trainer.parts
            datasets = [getattr(part.data_loader, "dataset", None) for part in parts]
            images = chain.from_iterable(getattr(data, "images", ()) for data in datasets)
            check_peak_memory(self.cfg, self.plain_model, parts, images)
        on_cpu = self.cfg.MODEL.DEVICE == "cpu"
        unoptimized = torch.jit.optimized_execution(False)  # type: ignore[attr-defined]
        with unoptimized if on_cpu else nullcontext():
            try:
                self.results = super().train()
            finally:
                self._stop_on_signal.restore()
        return self.results

    def build_writers(self) -> list[EventWriter]:
        metrics = Path(self.cfg.OUTPUT_DIR, "metrics.json")
        has_lines = metrics.exists() and metrics.stat().st_size  # a device has no size
        if has_lines and not metrics.read_bytes().endswith(b"\n"):
            with metrics.open("a") as stream:  # a killed process has left half a line
                stream.write("\n")
        writers = super().build_writers()
        if find_module("tensorboard") is not None:
            return writers
        logger.info("No files for TensorBoard, which is not installed (pip install tensorboard).")
        return [writer for writer in writers if not isinstance(writer, TensorboardXWriter)]

    def build_hooks(self) -> list[HookBase | None]:
        hooks = super().build_hooks()
        return [RepeatedPreciseBN(h) if isinstance(h, PreciseBN) else h for h in hooks]

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        """Build the model of ``cfg``; each ``SyncBN`` becomes the version for this process."""
        cfg = cfg.clone()
        cfg.defrost()
        replace_norms(cfg, lambda norm: resolve_norm(norm, cfg.MODEL.DEVICE))
        model = build_model(cfg)
        if cfg.SOLVER.CHANNELS_LAST:
            model.to(memory_format=torch.channels_last)
        return model

    build_train_loader = staticmethod(build_train_loader)
    build_test_loader = staticmethod(build_test_loader)
    build_evaluator = staticmethod(build_evaluator)
    build_optimizer = staticmethod(build_optimizer)
    build_lr_scheduler = staticmethod(build_lr_scheduler)

    @staticmethod
    def auto_scale_workers(cfg: CfgNode, num_workers: int) -> CfgNode:
        """Scale to another number of processes as Detectron2 does, and what it does not know.

        With ``SOLVER.REFERENCE_WORLD_SIZE`` set, images per process, learning rate per image and
        the total number of images stay the same: batch size and learning rates grow with the
        number of processes; iterations, steps and periods shrink, to 1 at least. Cosine and linear
        schedules keep their shape.

        Alpha is trained in as many epochs, so with fewer processes in more steps. A step of Adam is
        about as long as its learning rate, whatever the gradient is. So that alpha can move as far
        in total, the rate grows with the number of processes, too.
        """
        scaled = DefaultTrainer.auto_scale_workers(cfg, num_workers)
        if scaled is not cfg:
            frozen = scaled.is_frozen()
            scaled.defrost()
            factor = num_workers / cfg.SOLVER.REFERENCE_WORLD_SIZE
            scaled.SOLVER.BASE_LR_END *= factor
            scaled.SOLVER.ALPHA.BASE_LR *= factor
            # Detectron2 rounds to 0, which is a division by zero, or means never.
            solver, test = scaled.SOLVER, scaled.TEST
            solver.MAX_ITER = max(solver.MAX_ITER, 1)
            solver.CHECKPOINT_PERIOD = max(solver.CHECKPOINT_PERIOD, 1)
            test.EVAL_PERIOD = max(test.EVAL_PERIOD, min(cfg.TEST.EVAL_PERIOD, 1))
            pairs = zip(solver.STEPS, cfg.SOLVER.STEPS, strict=True)
            solver.STEPS = tuple(max(step, min(before, 1)) for step, before in pairs)
            if frozen:
                scaled.freeze()
        return scaled

    @classmethod
    def test(cls, cfg: CfgNode, model: nn.Module, evaluators: Any = None) -> dict:
        """Score a network on ``DATASETS.TEST``; of a supernet, the one that it has found."""
        supernet = find_supernet(model)
        if supernet is None:
            return super().test(cfg, model, evaluators)
        if not cfg.DATASETS.TEST:
            return {}
        genotype = supernet.decode()
        if genotype is None:
            logger.info("A supernet is not evaluated: a search scores its subnets.")
            return {}
        logger.info("Scoring the network that the training has found, with BN calibrated.")
        with found_network(cfg, model, genotype) as found:
            return super().test(cfg, found, evaluators)


def checkpoint_size(cfg: CfgNode, model: nn.Module) -> int:
    """Return the approximate size of a checkpoint in bytes: the weights and their momentum."""
    weights = sum(tensor.nbytes for tensor in model.state_dict().values())
    momentum = sum(p.nbytes for p in model.parameters() if p.requires_grad)
    return weights + (cfg.SOLVER.MOMENTUM > 0) * momentum
