"""The precision and the memory layout in which candidates are scored."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

Precision = Callable[[], AbstractContextManager[Any]]  # a factory of autocast contexts


def build_precision(name: str, device: str) -> Precision:
    """Return a factory of autocast contexts for ``float32``, ``bfloat16`` or ``float16``.

    In a reduced precision, convolutions and matrix products are computed; the rest, e.g. weights
    and BN statistics, stays in float32.
    """
    if name == "float32":
        return nullcontext
    kind = torch.device(device).type
    return lambda: torch.autocast(kind, dtype=getattr(torch, name))


def check_precision(name: str, device: str) -> None:
    """Raise ValueError if a device cannot compute in a precision."""
    if name == "float16" and torch.device(device).type != "cuda":
        raise ValueError(
            f"SEARCH.PRECISION is 'float16', which needs a GPU (cuda), and MODEL.DEVICE is "
            f"'{device}'; use 'bfloat16' or 'float32'."
        )
    try:
        with torch.inference_mode(), build_precision(name, device)():
            image = torch.ones(1, 1, 3, 3, device=device)
            found = nn.functional.conv2d(image, image).dtype
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
    else:
        if found == getattr(torch, name):
            return
        reason = f"it computes in {found}"
    raise ValueError(
        f"SEARCH.PRECISION is '{name}', which MODEL.DEVICE '{device}' does not offer ({reason}); "
        "use 'float32'."
    )


def use_channels_last(model: Any) -> None:
    """Let a detector compute with channels last, ``(N, H, W, C)`` in memory; results to rounding.

    Its weights are laid out anew, in place, and its body converts its input.
    """
    model.to(memory_format=torch.channels_last)

    def convert(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        images, *others = inputs
        return images.contiguous(memory_format=torch.channels_last), *others

    getattr(model.backbone, "bottom_up", model.backbone).register_forward_pre_hook(convert)
