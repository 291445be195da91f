"""The theoretical receptive field of each level: how much of the image one feature sees."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

aten = torch.ops.aten

# The size of the image. Large enough for any stride; height and width differ, so that an operation
# that swaps them does not look like one that keeps them.
_PLATE = (256, 320)


@dataclass(frozen=True)
class ReceptiveField:
    """The (height, width) of the rectangle of pixels that one feature depends on, and its stride.

    The border of the image aside; the stride is in pixels from one feature to the next.
    """

    size: tuple[int, int]
    stride: int


def receptive_fields(body: nn.Module, in_channels: int = 3) -> dict[str, ReceptiveField]:
    """Compute the theoretical receptive field of each output of a body.

    This follows the tensors of one forward pass, ``(1, in_channels, H, W)``, so it covers whatever
    runs: dilations, parallel branches (the hull of their fields), the active path of a supernet.
    Convolutions and pooling widen the field; operations that keep height and width are assumed to
    work pixel by pixel; any other, e.g. global pooling, is a ValueError. The body does not change.
    """
    # On the meta device nothing is computed, and no statistics of the body change.
    state = dict(body.named_parameters()) | dict(body.named_buffers())
    state = {name: tensor.detach().to("meta") for name, tensor in state.items()}
    image = torch.empty(1, in_channels, *_PLATE, device="meta")
    with torch.no_grad(), _Fields() as fields:
        fields.of[image] = (_Span(0, 0, 1), _Span(0, 0, 1))
        outputs = functional_call(body, state, (image,))
        found = {name: fields.of[output] for name, output in outputs.items()}
    for name, (rows, columns) in found.items():
        if rows.stride != columns.stride:
            strides = f"{rows.stride} in height and {columns.stride} in width"
            raise ValueError(f"{name} has a stride of {strides}; expected the same.")
    return {
        name: ReceptiveField((rows.size, columns.size), rows.stride)
        for name, (rows, columns) in found.items()
    }


class _Span(NamedTuple):
    """Field along one axis: feature ``i`` sees pixels ``i * stride + first`` to ``... + last``."""

    first: int
    last: int
    stride: int

    @property
    def size(self) -> int:
        return self.last - self.first + 1

    def through(self, kernel: int, stride: int, padding: int, dilation: int) -> "_Span":
        # Output o reads the inputs o * stride - padding + k * dilation for k = 0 .. kernel - 1.
        return _Span(
            self.first - padding * self.stride,
            self.last + (dilation * (kernel - 1) - padding) * self.stride,
            self.stride * stride,
        )

    def joined(self, other: "_Span") -> "_Span":
        """Return the hull of two spans, e.g. of a shortcut and its block."""
        if self.stride != other.stride:
            both = f"{self.stride} and {other.stride}"
            raise ValueError(f"Features of different strides are joined: {both}.")
        return _Span(min(self.first, other.first), max(self.last, other.last), self.stride)


class _Fields(TorchDispatchMode):
    """Records the field, (rows, columns), of every tensor that depends on the image."""

    def __init__(self) -> None:
        super().__init__()
        self.of = WeakTensorKeyDictionary()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        inputs = [tensor for tensor in _tensors((args, kwargs)) if tensor in self.of]
        # Read before the operation, which may work in place.
        size = inputs[0].shape[-2:] if inputs else None
        spans = [self.of[tensor] for tensor in inputs]
        results = func(*args, **kwargs)
        outputs = _tensors(results)
        if not inputs or not outputs:
            return results
        window = _WINDOWS.get(func.overloadpacket)
        if window is not None:
            [spans] = spans
            # One number stands for both axes.
            pairs = (np.broadcast_to(value, 2).tolist() for value in window(*args, **kwargs))
            field = tuple(s.through(*numbers) for s, *numbers in zip(spans, *pairs, strict=True))
        elif outputs[0].shape[-2:] == size:
            field = tuple(reduce(_Span.joined, axis) for axis in zip(*spans, strict=True))
        else:
            raise ValueError(
                f"The receptive field of {func} is not known: it maps {tuple(inputs[0].shape)} to "
                f"{tuple(outputs[0].shape)}. Supported are convolutions, pooling, and operations "
                "that keep height and width."
            )
        for output in outputs:
            self.of[output] = field
        return results


def _convolution(
    x: Any, weight: torch.Tensor, bias: Any, stride: Any, padding: Any, dilation: Any, *others: Any
) -> tuple[Any, ...]:
    if others[0]:
        raise ValueError("The receptive field of a transposed convolution is not known.")
    return weight.shape[2:], stride, padding, dilation


def _pooling(
    x: Any, kernel: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, *_: Any
) -> tuple[Any, ...]:
    return kernel, stride or kernel, padding, dilation


# Functions from the arguments of an operation to its kernel, stride, padding and dilation.
_WINDOWS: dict[Any, Callable[..., tuple[Any, ...]]] = {
    aten.convolution: _convolution,
    aten.max_pool2d_with_indices: _pooling,
    # A window of one pixel, as far before the image as the padding (left, right, top, bottom).
    aten.constant_pad_nd: lambda x, pads, *_: ((1, 1), (1, 1), (pads[2], pads[0]), (1, 1)),
    aten.avg_pool2d: lambda *args: _pooling(*args[:4]),
}


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]
