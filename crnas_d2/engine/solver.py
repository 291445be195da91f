"""Detectron2's optimizers and schedules for supernets, and a linear schedule."""

from typing import Any

import torch
from detectron2 import solver
from detectron2.config import CfgNode
from detectron2.solver import LRMultiplier, WarmupParamScheduler
from fvcore.common.param_scheduler import LinearParamScheduler
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from crnas_d2.common.errors import invalid
from crnas_d2.modeling import find_supernet

# Schedules, and those that end at SOLVER.BASE_LR_END.
_TO_END = ("WarmupCosineLR", "WarmupLinearLR")
LR_SCHEDULERS = ("WarmupMultiStepLR", *_TO_END, "WarmupStepWithFixedGammaLR")


def build_optimizer(cfg: CfgNode, model: nn.Module) -> Optimizer:
    """Build Detectron2's optimizer, without alpha; clipping skips parameters without a gradient.

    Detectron2 clips these, too, one by one: slow with ``CLIP_TYPE: norm``, an error of torch with
    ``value``. For alpha, see :func:`build_alpha_optimizer`.
    """
    clip = cfg.SOLVER.CLIP_GRADIENTS
    if clip.ENABLED:
        if clip.CLIP_TYPE not in ("norm", "value"):
            raise invalid("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", clip.CLIP_TYPE, "'norm' or 'value'")
        cfg = cfg.clone()
        cfg.defrost()
        cfg.SOLVER.CLIP_GRADIENTS.ENABLED = False
    alphas = _alphas(model)
    for alpha in alphas:
        alpha.requires_grad_(False)  # Detectron2 skips parameters that need no gradient
    optimizer = solver.build_optimizer(cfg, model)
    for alpha in alphas:
        alpha.requires_grad_(True)

    def clip_gradients(optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        parameters = (p for group in optimizer.param_groups for p in group["params"])
        for parameter in (p for p in parameters if p.grad is not None):
            if clip.CLIP_TYPE == "norm":
                nn.utils.clip_grad_norm_(parameter, clip.CLIP_VALUE, clip.NORM_TYPE)
            else:
                nn.utils.clip_grad_value_(parameter, clip.CLIP_VALUE)

    if clip.ENABLED:
        optimizer.register_step_pre_hook(clip_gradients)
    return optimizer


def build_alpha_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Adam:
    """Build Adam for the alpha of a channel supernet, at a constant rate (NATS section 4.2)."""
    settings = cfg.SOLVER.ALPHA
    return torch.optim.Adam(_alphas(model), lr=settings.BASE_LR, weight_decay=settings.WEIGHT_DECAY)


def _alphas(model: nn.Module) -> list[nn.Parameter]:
    supernet = find_supernet(model)
    return [] if supernet is None else supernet.alphas


def check_lr_scheduler(cfg: CfgNode) -> None:
    """Raise ValueError for an unknown schedule or warm-up, or an end above the start."""
    settings, name = cfg.SOLVER, cfg.SOLVER.LR_SCHEDULER_NAME
    if name not in LR_SCHEDULERS:
        raise invalid("SOLVER.LR_SCHEDULER_NAME", name, f"one of {', '.join(LR_SCHEDULERS)}")
    if name in _TO_END and not 0 <= settings.BASE_LR_END <= settings.BASE_LR:
        but = f"{name} needs a value from 0 to SOLVER.BASE_LR, which is {settings.BASE_LR}"
        raise invalid("SOLVER.BASE_LR_END", settings.BASE_LR_END, but=but)
    if settings.WARMUP_METHOD not in ("constant", "linear"):
        raise invalid("SOLVER.WARMUP_METHOD", settings.WARMUP_METHOD, "'constant' or 'linear'")


def build_lr_scheduler(cfg: CfgNode, optimizer: Optimizer) -> LRScheduler:
    """Build the schedule of ``SOLVER.LR_SCHEDULER_NAME``, stepped once per iteration.

    In addition to Detectron2's schedules there is ``WarmupLinearLR``: ``SOLVER.BASE_LR`` at
    iteration 0, falling linearly to ``SOLVER.BASE_LR_END`` at ``SOLVER.MAX_ITER`` (DetNAS section
    4.1). As in the others, a warm-up replaces the first ``SOLVER.WARMUP_ITERS`` iterations. Errors
    are those of :func:`check_lr_scheduler`.
    """
    check_lr_scheduler(cfg)
    settings = cfg.SOLVER
    if settings.LR_SCHEDULER_NAME != "WarmupLinearLR":
        return solver.build_lr_scheduler(cfg, optimizer)
    schedule = WarmupParamScheduler(
        LinearParamScheduler(1.0, settings.BASE_LR_END / settings.BASE_LR),
        settings.WARMUP_FACTOR,
        min(settings.WARMUP_ITERS / settings.MAX_ITER, 1.0),
        settings.WARMUP_METHOD,
        settings.RESCALE_INTERVAL,
    )
    return LRMultiplier(optimizer, multiplier=schedule, max_iter=settings.MAX_ITER)
