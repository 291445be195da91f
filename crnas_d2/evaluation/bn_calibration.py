"""A subnet's own BN statistics (single-path one-shot, Guo et al. 2019)."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

import torch
from detectron2.utils.events import EventStorage
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from crnas_d2.layers import active_modules

__all__ = ["batch_statistics", "calibrated"]


@contextmanager
def calibrated(model: nn.Module, batches: Collection[list[dict]]) -> Iterator[None]:
    """Within this context the BN layers on the active path hold the statistics of ``batches``.

    A supernet's running statistics mix all the paths that were trained; a subnet is judged with
    its own. They are reset and become the plain average over the batches (momentum ``1 / k`` in
    the k-th), then hold still. Layers off the path are not touched; on leaving, everything is as
    before. With no batches the statistics stay as they are.

    Args:
        model: a Detectron2 detector with an active path.
        batches: its inputs in training (with ``instances``, because BN in a head must see the
            proposals that it saw in training), the same for every subnet that is compared.
    """
    layers = _layers_on_path(model)
    if not layers or not batches:
        yield
        return
    with _kept(model, layers):
        model.eval()
        # All batches count alike: momentum 1 / k in the k-th is their plain average.
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # torch's word for a cumulative average
            layer.train()
        _forward(model, layers, batches)
        model.eval()
        yield


@contextmanager
def batch_statistics(model: nn.Module) -> Iterator[None]:
    """Within this context the BN of the backbone's active path normalizes each batch by itself.

    The alternative to :func:`calibrated` where a path runs for one batch only. BN in a head keeps
    its running statistics: the proposals of inference are others than those it was trained on, so
    a batch of them has other statistics. All else is in evaluation; on leaving, everything is as
    before.
    """
    layers = _layers_on_path(model.backbone)
    with _kept(model, layers):
        model.eval()
        for layer in layers:
            layer.train()
        yield


def _layers_on_path(model: nn.Module) -> list[_BatchNorm]:
    return [
        module
        for module in active_modules(model)
        if isinstance(module, _BatchNorm) and module.track_running_stats
    ]


@contextmanager
def _kept(model: nn.Module, layers: list[_BatchNorm]) -> Iterator[None]:
    """Put statistics, momentum and the mode of all modules back on leaving."""
    was_training = [(module, module.training) for module in model.modules()]
    kept = [
        (layer, layer.momentum, {name: buffer.clone() for name, buffer in layer.named_buffers()})
        for layer in layers
    ]
    try:
        yield
    finally:
        for layer, momentum, buffers in kept:
            layer.momentum = momentum
            for name, buffer in layer.named_buffers():
                buffer.copy_(buffers[name])
        for module, training in was_training:
            module.training = training


def _forward(model: nn.Module, layers: list[nn.Module], batches: Collection[list[dict]]) -> None:
    in_backbone = set(active_modules(model.backbone))
    with torch.no_grad():
        if all(layer in in_backbone for layer in layers):
            for batch in batches:
                model.backbone(model.preprocess_image(batch).tensor)
            return
        # The heads sample the proposals they train on: the same ones for every subnet.
        with torch.random.fork_rng(), EventStorage():
            torch.manual_seed(0)
            model.train()
            for batch in batches:
                model(batch)
