"""A subnet's own BN statistics (single-path one-shot, Guo et al. 2019)."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from detectron2.utils.events import EventStorage
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from crnas_d2.layers import active_modules

Batches = Collection[list[dict[str, Any]]]


@contextmanager
def calibrated(model: Any, batches: Batches) -> Iterator[None]:
    """Set the BN layers on the active path to the statistics of ``batches`` within this context.

    A supernet's running statistics mix all paths that were trained; a subnet is scored with its
    own, averaged over the batches (momentum ``1 / k`` in the k-th) and then fixed; without batches
    they do not change. Layers off the path are not touched. On exit, everything is restored.

    Args:
        model: a Detectron2 detector with an active path.
        batches: inputs as in training, the same for every subnet that is compared. They have
            ``instances``, because BN in a head must see the same kind of proposals as in training.
    """
    layers = _layers_on_path(model)
    if not layers or not batches:
        yield
        return
    with restored(model, layers):
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # PyTorch's setting for a cumulative average
            layer.train()
        with torch.no_grad():
            # Without BN in a head, the backbone alone is enough, and faster.
            if set(layers) <= set(active_modules(model.backbone)):
                for batch in batches:
                    model.backbone(model.preprocess_image(batch).tensor)
            else:
                # The heads sample proposals; a fixed seed gives every subnet the same samples.
                with torch.random.fork_rng(), EventStorage():
                    iterator = iter(batches)  # a loader draws a random number here, a list none
                    torch.manual_seed(0)
                    model.train()
                    for batch in iterator:
                        model(batch)
        model.eval()  # from here on the new statistics are fixed
        yield


@contextmanager
def batch_statistics(model: Any) -> Iterator[None]:
    """Let the BN of the backbone's active path normalize by batch statistics within this context.

    The alternative to :func:`calibrated` when a path runs for a single batch. BN in a head keeps
    its running statistics, because proposals at inference differ from those in training. Everything
    else is in evaluation mode. On exit, everything is restored.
    """
    layers = _layers_on_path(model.backbone)
    with restored(model, layers):
        for layer in layers:
            layer.train()
        yield


@contextmanager
def restored(model: nn.Module, layers: Collection[_BatchNorm] = ()) -> Iterator[None]:
    """Enter evaluation mode; on exit, restore all modes, and statistics and momenta of layers."""
    was_training = {module: module.training for module in model.modules()}
    kept = {
        layer: (layer.momentum, {name: value.clone() for name, value in layer.named_buffers()})
        for layer in layers
    }
    model.eval()
    try:
        yield
    finally:
        for layer, (momentum, buffers) in kept.items():
            layer.momentum = momentum
            for name, buffer in layer.named_buffers():
                buffer.copy_(buffers[name])
        for module, training in was_training.items():
            module.training = training


def _layers_on_path(model: nn.Module) -> list[_BatchNorm]:
    found = (module for module in active_modules(model) if isinstance(module, _BatchNorm))
    return [layer for layer in found if layer.track_running_stats]
