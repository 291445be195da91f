"""Networks on the meta device, which have shapes without values, in less time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class _Skipped(TorchFunctionMode):
    """Leaves out functions that change the values of a meta tensor, which has none."""

    def __init__(self, *functions: Callable[..., Any]):
        super().__init__()
        self.functions = set(functions)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func in self.functions and (tensor := args[0] if args else kwargs["tensor"]).is_meta:
            return tensor
        return func(*args, **(kwargs or {}))


def without_norms() -> TorchFunctionMode:
    """Leave out batch norms in a context: they have no MACs, and take half the time of counting."""
    return _Skipped(functional.batch_norm)


@contextmanager
def on_meta() -> Iterator[None]:
    """Build networks on the meta device in a context; none of their weights is initialized."""
    methods = (Tensor.fill_, Tensor.zero_, Tensor.normal_, Tensor.uniform_)
    with torch.device("meta"), _Skipped(*methods, nn.init.kaiming_uniform_):
        yield
