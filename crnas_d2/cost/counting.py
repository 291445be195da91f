"""The cost of one network: multiply-accumulate operations (MACs) and parameters."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from crnas_d2.common.errors import invalid
from crnas_d2.common.meta_device import on_meta, without_norms
from crnas_d2.config import NetworkSpec
from crnas_d2.layers import active_modules
from crnas_d2.modeling import build_body


@dataclass(frozen=True)
class NetworkCost:
    """The cost of a network or of a part of it."""

    macs: int  # of convolutions and linear layers, for one image
    parameters: int  # trainable or not, on the active path

    def __add__(self, other: "NetworkCost") -> "NetworkCost":
        return NetworkCost(self.macs + other.macs, self.parameters + other.parameters)

    def __sub__(self, other: "NetworkCost") -> "NetworkCost":
        return NetworkCost(self.macs - other.macs, self.parameters - other.parameters)


Formula = Callable[..., int]
_FORMULAS: dict[Any, Formula] = {}  # by operator, of multiply-adds
# Operators of PyTorch's own that multiply matrices or convolve; all others count nothing, as
# pooling, resizing and activations do.
_MULTIPLIES = re.compile(
    r"(^|_|add|b)mm(_|$)|mv$|addr|dot|conv(?!ert)|matmul|linear$|attention|encoder_layer|lstm|gru|"
    r"rnn|cdist|euclidean_dist|fft_[cr]2|(?<!re)solve|matrix_exp"
)
# What these compute is left out by convention, see detector_cost().
_UNCOUNTED = re.compile(r"(torchvision|detectron2)::(ps_)?(roi_|nms|box_iou)")


def register_macs(operator: Any) -> Callable[[Formula], Formula]:
    """Return a decorator for the function that counts the MACs of an operator.

    The door for operators that PyTorch's counter does not know, e.g.
    ``torch.ops.torchvision.deform_conv2d``. The function gets what one call gets, with the shape of
    each tensor in its place, and the shape of its output as ``out_shape``; it returns MACs.
    """

    def decorate(formula: Formula) -> Formula:
        _FORMULAS[operator] = formula
        return formula

    return decorate


class _Counter(FlopCounterMode):
    """PyTorch's counter, which would take operators without a formula as free."""

    def _count_flops(self, func_packet: Any, out: Any, args: Any, kwargs: Any) -> Any:
        name = str(getattr(func_packet, "_qualified_op_name", func_packet))
        space, _, operator = name.partition("::")
        is_free = space in ("aten", "prim", "prims") and not _MULTIPLIES.search(operator)
        if not is_free and func_packet not in self.flop_registry and not _UNCOUNTED.match(name):
            but = "its multiply-adds are not known"
            fix = "Say them with @crnas_d2.cost.register_macs in a module of PLUGINS"
            raise invalid("An operator of the network", name, but=but, fix=fix)
        return super()._count_flops(func_packet, out, args, kwargs)  # type: ignore[no-untyped-call]


@contextmanager
def counting_macs(formulas: Mapping[Any, Formula] | None = None) -> Iterator[Callable[[], int]]:
    """Count MACs in a context; the function that it gives returns the count so far.

    Formulas are those of operators that count in another way, see :func:`register_macs`. An
    operator without one that may multiply is a ValueError.
    """
    # The counter counts a multiply-add as two operations.
    mapping = {
        operator: lambda *args, macs=macs, **kwargs: 2 * macs(*args, **kwargs)
        for operator, macs in {**_FORMULAS, **(formulas or {})}.items()
    }
    with without_norms(), _Counter(display=False, custom_mapping=mapping) as counter:
        yield lambda: int(counter.get_total_flops() // 2)


def count_macs(
    run: Callable[..., Any], *inputs: Any, formulas: Mapping[Any, Formula] | None = None
) -> int:
    """Return the MACs of ``run(*inputs)``, see :func:`counting_macs`; meta tensors are enough."""
    with torch.no_grad(), counting_macs(formulas) as reading:
        run(*inputs)
        return reading()


def count_parameters(module: nn.Module) -> int:
    """Count the parameters on the active path of a supernet, or all of any other network."""
    parts = active_modules(module)
    return sum(weight.numel() for part in parts for weight in part.parameters(recurse=False))


def body_cost(spec: NetworkSpec, input_size: tuple[int, int]) -> NetworkCost:
    """Return the cost of one network's body for an image of (height, width) pixels."""
    body = meta_body(spec)
    return NetworkCost(count_macs(body, meta_image(spec, input_size)), count_parameters(body))


def meta_body(spec: NetworkSpec) -> nn.Module:
    """Build a body on the meta device, for inference: shapes without values."""
    with on_meta():
        return build_body(spec).eval()


def meta_image(spec: NetworkSpec, size: tuple[int, int]) -> torch.Tensor:
    """Return an image for :func:`meta_body`, (1, C, height, width)."""
    return torch.empty(1, spec.in_channels, *size, device="meta")
