"""Detectron2's optimizer, for models of which only a part has gradients in a step."""

import torch
from detectron2 import solver
from torch import nn

from crnas_d2.modeling import MixedSupernet, find_supernet


def build_optimizer(cfg, model: nn.Module) -> torch.optim.Optimizer:
    """Build Detectron2's optimizer with clipping that skips parameters without a gradient.

    Detectron2 clips every parameter one by one, which in a supernet includes those of all paths:
    slow with ``CLIP_TYPE: norm``, an error of torch with ``value``. The alpha of a channel supernet
    is excluded, see :func:`build_alpha_optimizer`.
    """
    alphas = _alphas(model)
    for alpha in alphas:
        alpha.requires_grad_(False)  # Detectron2 skips parameters that need no gradient
    try:
        return _build_weight_optimizer(cfg, model)
    finally:
        for alpha in alphas:
            alpha.requires_grad_(True)


def build_alpha_optimizer(cfg, model: nn.Module) -> torch.optim.Adam:
    """Build Adam for the alpha of a channel supernet, at a constant rate (NATS section 4.2)."""
    settings = cfg.SOLVER.ALPHA
    return torch.optim.Adam(_alphas(model), lr=settings.BASE_LR, weight_decay=settings.WEIGHT_DECAY)


def _alphas(model: nn.Module) -> list[nn.Parameter]:
    supernet = find_supernet(model)
    return supernet.alphas if isinstance(supernet, MixedSupernet) else []


def _build_weight_optimizer(cfg, model: nn.Module) -> torch.optim.Optimizer:
    clip = cfg.SOLVER.CLIP_GRADIENTS
    if not clip.ENABLED:
        return solver.build_optimizer(cfg, model)
    if clip.CLIP_TYPE not in ("norm", "value"):
        raise ValueError(
            f"SOLVER.CLIP_GRADIENTS.CLIP_TYPE is '{clip.CLIP_TYPE}'; expected 'norm' or 'value'."
        )
    cfg = cfg.clone()
    cfg.defrost()
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED = False
    optimizer = solver.build_optimizer(cfg, model)

    def clip_gradients(optimizer, _args, _kwargs):
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if clip.CLIP_TYPE == "norm":
                    nn.utils.clip_grad_norm_(parameter, clip.CLIP_VALUE, clip.NORM_TYPE)
                else:
                    nn.utils.clip_grad_value_(parameter, clip.CLIP_VALUE)

    optimizer.register_step_pre_hook(clip_gradients)
    return optimizer
