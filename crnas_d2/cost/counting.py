"""The cost of one network: multiply-accumulate operations (MACs) and parameters."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

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


@contextmanager
def counting_macs(formulas: Mapping[Any, Any] | None = None) -> Iterator[Callable[[], int]]:
    """Count MACs in a context; the function that it gives returns the count so far.

    Formulas are those of operators that count in another way, as ``FlopCounterMode`` takes them.
    """
    mapping = dict(formulas or {})
    with without_norms(), FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        # The counter counts a multiply-add as two operations.
        yield lambda: int(counter.get_total_flops() // 2)


def count_macs(
    run: Callable[..., Any], *inputs: Any, formulas: Mapping[Any, Any] | None = None
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
