"""Training of supernets and of single networks."""

import logging
import weakref

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.engine import AMPTrainer, DefaultTrainer, SimpleTrainer, TrainerBase
from detectron2.engine.defaults import create_ddp_model
from detectron2.modeling import build_model
from detectron2.utils import comm
from torch import nn

from crnas_d2.layers import resolve_norm
from crnas_d2.modeling import find_supernet

from .hooks import PathSampling
from .optimizer import build_optimizer
from .path_samplers import UniformPathSampler

__all__ = ["Trainer"]

logger = logging.getLogger(__name__)


class Trainer(DefaultTrainer):
    """Detectron2's default trainer, for models of which only a part runs in each step.

    As with Detectron2's, a subclass says in ``build_evaluator`` how a dataset is scored.
    """

    def __init__(self, cfg):
        # DefaultTrainer.__init__ fixes the arguments of DDP. These are its parts, with one
        # argument more: a step leaves the parameters off the path without a gradient.
        TrainerBase.__init__(self)
        cfg = self.auto_scale_workers(cfg, comm.get_world_size())
        model = self.build_model(cfg)
        supernet = find_supernet(model)
        optimizer = self.build_optimizer(cfg, model)
        data_loader = self.build_train_loader(cfg)
        ddp_args = {} if cfg.MODEL.DEVICE.startswith("cuda") else {"device_ids": None}
        model = create_ddp_model(
            model,
            broadcast_buffers=False,
            find_unused_parameters=supernet is not None,
            **ddp_args,
        )
        runner = AMPTrainer if cfg.SOLVER.AMP.ENABLED else SimpleTrainer
        self._trainer = runner(model, data_loader, optimizer)
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.checkpointer = DetectionCheckpointer(
            model, cfg.OUTPUT_DIR, trainer=weakref.proxy(self)
        )
        self.start_iter = 0
        self.max_iter = cfg.SOLVER.MAX_ITER
        self.cfg = cfg
        # Before all others: a hook that looks at the model finds the path that will run.
        if supernet is not None:
            sampler = UniformPathSampler(supernet.space, seed=max(cfg.SEED, 0))
            self.register_hooks([PathSampling(supernet, sampler)])
        self.register_hooks(self.build_hooks())

    @classmethod
    def build_model(cls, cfg) -> nn.Module:
        """The detector of ``cfg``, each ``SyncBN`` replaced by what works in this process."""
        cfg = cfg.clone()
        cfg.defrost()
        _resolve_norms(cfg, cfg.MODEL.DEVICE)
        return build_model(cfg)

    @classmethod
    def build_optimizer(cls, cfg, model: nn.Module) -> torch.optim.Optimizer:
        return build_optimizer(cfg, model)

    @classmethod
    def test(cls, cfg, model: nn.Module, evaluators=None) -> dict:
        """Scores a single network on ``DATASETS.TEST``; a supernet has no score of its own."""
        if find_supernet(model) is not None:
            if cfg.DATASETS.TEST:
                logger.info("A supernet is not evaluated: search_net.py scores its subnets.")
            return {}
        return super().test(cfg, model, evaluators)


def _resolve_norms(node, device: str) -> None:
    for key, value in node.items():
        if isinstance(value, dict):
            _resolve_norms(value, device)
        elif key == "NORM":
            node[key] = resolve_norm(value, device)
