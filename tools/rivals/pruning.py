"""Remove channels of a trained detector's body with Torch-Pruning, down to a number of MACs.

Torch-Pruning is no dependency of this project: ``pip install torch-pruning==1.6.1``.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from torch import nn

from crnas_d2.checkpoint import TrainingCheckpointer, read_file, write_weights
from crnas_d2.common.errors import invalid
from crnas_d2.cost.counting import count_macs
from crnas_d2.cost.detector_cost import find_body
from crnas_d2.engine import Trainer

from . import pruned_family
from .pruned_family import Widths

METHODS = {  # the row: importance in Torch-Pruning, its arguments, and whether layers are compared
    "pruned-layer": ("GroupMagnitudeImportance", {"p": 1}, False),
    "pruned-global": ("GroupMagnitudeImportance", {"p": 1}, True),
    "pruned-bn": ("BNScaleImportance", {}, True),
}
ROUND_TO = 8  # widths are multiples of it, which a CPU is fast at
_STEPS = 200  # up to no channels; pruning ends at the first within the limit
_MOST = 0.9  # of the channels of a layer may go


def prune_body(model: Any, method: str, input_size: tuple[int, int], most: float) -> Widths:
    """Prune the body of a detector in place until it has at most ``most`` MACs.

    Neck and heads keep their widths; what reads the body's outputs loses input channels with them.

    Args:
        model: in eval mode, without frozen parts.
        method: a key of :data:`METHODS`.
        input_size: (height, width) in pixels of the image whose MACs count.

    Raises ValueError for convolutions in several groups that are not depthwise.
    """
    torch_pruning = _torch_pruning()
    body = find_body(model)
    convs = dict(_convs(body))
    for name, conv in convs.items():
        if conv.groups not in (1, conv.in_channels):
            raise invalid(f"The groups of {name}", conv.groups, "1, or depthwise")
    kind, arguments, is_global = METHODS[method]
    step = max(model.backbone.size_divisibility, 1)
    height, width = (-(-side // step) * step for side in input_size)
    pixels = len(model.pixel_mean)
    with _unwrapped(model.backbone):
        pruner = torch_pruning.pruner.BasePruner(
            model.backbone,
            torch.zeros(1, pixels, height, width),
            importance=getattr(torch_pruning.importance, kind)(**arguments),
            global_pruning=is_global,
            pruning_ratio=1.0,
            max_pruning_ratio=_MOST,
            iterative_steps=_STEPS,
            ignored_layers=[m for n, m in model.backbone.named_children() if m is not body],
            round_to=ROUND_TO,
        )
        image = torch.zeros(1, pixels, *input_size)
        for _ in range(_STEPS):
            if count_macs(body, image) <= most:
                break
            pruner.step()
        else:
            raise ValueError(f"{method} ends above {most:,.0f} MACs. Choose a larger --share.")
    return tuple((name, *conv.weight.shape[:2]) for name, conv in convs.items())


def prune_file(cfg: CfgNode, method: str, most: float, file: Path) -> None:
    """Prune the detector of ``MODEL.WEIGHTS``; write the weights that are left to a file."""
    _torch_pruning()
    model = Trainer.build_model(cfg).eval()
    TrainingCheckpointer(model, inherit=cfg.MODEL.INHERIT).load(cfg.MODEL.WEIGHTS)
    widths = prune_body(model, method, tuple(cfg.SEARCH.COST_INPUT_SIZE), most)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_weights({"model": model.state_dict(), "widths": widths}, file)


def pruned_settings(file: Path, family: str) -> list[tuple[str, Any]]:
    """Return the settings of the network of a file that :func:`prune_file` has written."""
    return [
        ("PLUGINS", [pruned_family.__name__]),
        ("MODEL.SUPERNET.FAMILY", "pruned"),
        ("MODEL.PRUNED.FAMILY", family),
        ("MODEL.PRUNED.WIDTHS", [list(widths) for widths in read_file(str(file))["widths"]]),
    ]


def _torch_pruning() -> Any:
    try:
        import torch_pruning
    except ImportError as error:
        fix = "pip install torch-pruning==1.6.1"
        raise ValueError(f"Torch-Pruning is not installed: {fix}.") from error
    return torch_pruning


def _convs(module: nn.Module) -> Iterator[tuple[str, Any]]:
    for name, part in module.named_modules():
        if isinstance(part, nn.Conv2d):
            yield name, part


@contextmanager
def _unwrapped(module: nn.Module) -> Iterator[None]:
    """Put norms and activations beside the convolutions that own them, in a context.

    Torch-Pruning sees a module by what its output is computed with, which in Detectron2's
    convolutions is the norm or the activation.
    """
    owners = []
    for name, conv in list(_convs(module)):
        parent_name, _, attribute = name.rpartition(".")
        norm, activation = getattr(conv, "norm", None), getattr(conv, "activation", None)
        if norm is None and activation is None:
            continue
        owners.append((module.get_submodule(parent_name), attribute, conv, norm, activation))
    try:
        for parent, attribute, conv, norm, activation in owners:
            conv.norm = conv.activation = None
            parts = [part for part in (norm, activation) if part is not None]
            parts = [part if isinstance(part, nn.Module) else _Function(part) for part in parts]
            setattr(parent, attribute, nn.Sequential(conv, *parts))
        yield
    finally:
        for parent, attribute, conv, norm, activation in owners:
            conv.norm, conv.activation = norm, activation
            setattr(parent, attribute, conv)


class _Function(nn.Module):
    """A function as a module."""

    def __init__(self, function: Any):
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)
