"""A subnet's own BN statistics (single-path one-shot, Guo et al. 2019)."""

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from detectron2.utils.events import EventStorage
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from crnas_d2.common.errors import JobError
from crnas_d2.layers import active_modules

Batches = Collection[list[dict[str, Any]]]


@contextmanager
def calibrated(model: Any, batches: Batches, weight: float = 1.0) -> Iterator[None]:
    """Set the BN layers on the active path to the statistics of ``batches`` within this context.

    A supernet's running statistics mix all paths that were trained; a subnet is scored with its
    own, averaged over the batches with the number of images as weight, and then fixed; without
    batches they do not change. Where a batch gives a layer less than two values of a channel, it
    has no variance, and the layer normalizes by the batches before it. Layers off the path are not
    touched. On exit, everything is restored.

    While statistics are measured, each batch is normalized by itself. So with all images in one
    batch, those of a layer are measured after those of the layers before it have been set.

    Args:
        model: a Detectron2 detector with an active path.
        batches: inputs as in training, the same for every subnet that is compared. They have
            ``instances``, because BN in a head must see the same kind of proposals as in training.
        weight: from 0 to 1, of the statistics of the batches; the rest is that of the running ones:
            mean and variance of a mixture of both distributions.

    Raises JobError if the first batch gives a layer less than two values of a channel.
    """
    layers = _layers_on_path(model)
    if not layers or not batches:
        yield
        return
    images = 0  # in the current batch
    seen = dict.fromkeys(layers, 0)  # images, in all calls of a layer

    def weigh(layer: _BatchNorm, inputs: tuple[torch.Tensor]) -> None:
        layer.train(_has_variance(inputs[0]))
        if layer.training:
            seen[layer] += images
            layer.momentum = images / seen[layer]
        elif not seen[layer]:
            raise _one_value(inputs[0], "Raise SEARCH.IMS_PER_BATCH or INPUT.MIN_SIZE_TEST")

    with restored(model, layers):
        before = {layer: _statistics(layer) for layer in layers} if weight < 1 else {}
        with ExitStack() as hooks, torch.no_grad():
            for layer in layers:
                layer.reset_running_stats()
                hooks.callback(layer.register_forward_pre_hook(weigh).remove)
            # Without BN in a head, the backbone alone is enough, and faster.
            if set(layers) <= set(active_modules(model.backbone)):
                for batch in batches:
                    images = len(batch)
                    model.backbone(model.preprocess_image(batch).tensor)
            else:
                # The heads sample proposals; a fixed seed gives every subnet the same samples.
                with torch.random.fork_rng(), EventStorage():
                    iterator = iter(batches)  # a loader draws a random number here, a list none
                    torch.manual_seed(0)
                    model.train()
                    for batch in iterator:
                        images = len(batch)
                        model(batch)
            for layer, (mean, variance) in before.items():
                _mix(layer, mean, variance, weight)
        model.eval()  # from here on the new statistics are fixed
        yield


def _statistics(layer: _BatchNorm) -> tuple[torch.Tensor, torch.Tensor]:
    assert layer.running_mean is not None and layer.running_var is not None
    return layer.running_mean.clone(), layer.running_var.clone()


def _mix(layer: _BatchNorm, mean: torch.Tensor, variance: torch.Tensor, weight: float) -> None:
    """Set a layer to the mixture of its statistics, with this weight, and other ones."""
    ours, running = layer.running_mean, layer.running_var
    assert ours is not None and running is not None
    running.lerp_(variance, 1 - weight).add_(weight * (1 - weight) * (ours - mean) ** 2)
    ours.lerp_(mean, 1 - weight)


@contextmanager
def batch_statistics(model: Any) -> Iterator[None]:
    """Let the BN of the backbone's active path normalize by batch statistics within this context.

    The alternative to :func:`calibrated` when a path runs for a single batch. BN in a head keeps
    its running statistics, because proposals at inference differ from those in training. Everything
    else is in evaluation mode. On exit, everything is restored.

    In the context, a batch with less than two values of a channel is a JobError.
    """

    def check(_: _BatchNorm, inputs: tuple[torch.Tensor]) -> None:
        if not _has_variance(inputs[0]):
            fix = "Set SEARCH.BN_CALIBRATION.PARTIAL to 'calibration', or change"
            raise _one_value(inputs[0], f"{fix} SEARCH.IMS_PER_BATCH or INPUT.MIN_SIZE_TEST")

    layers = _layers_on_path(model.backbone)
    with restored(model, layers), ExitStack() as hooks:
        for layer in layers:
            layer.train()
            hooks.callback(layer.register_forward_pre_hook(check).remove)
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


def _has_variance(values: torch.Tensor) -> bool:
    return values.numel() >= 2 * values.shape[1]  # (N, C) or (N, C, H, W)


def _one_value(values: torch.Tensor, fix: str) -> JobError:
    return JobError(
        f"The input of a BN layer has the shape {tuple(values.shape)}, which has no variance; "
        f"expected two values of each channel in a batch. {fix}."
    )
