"""Which gradients the processes of a training average: those that its step uses."""

from collections.abc import Callable, Collection
from functools import lru_cache

import torch
import torch.distributed as dist
from torch import nn
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel

from crnas_d2.layers import active_modules
from crnas_d2.modeling import Supernet
from crnas_d2.space import Genotype


class GradientExchange:
    """A communication hook of DistributedDataParallel that leaves gradients out.

    DistributedDataParallel all-reduces its buckets whole: of a supernet, the zeros of all paths
    that did not run, too. This hook packs the gradients that are used, and averages these, bucket
    by bucket while the backward pass goes on, to the same values; ``sent`` counts their bytes.

    Args:
        used: returns the parameters whose gradients the step uses, the same on every rank. Others
            that have a gradient keep that of their own rank.
    """

    def __init__(self, used: Callable[[], Collection[nn.Parameter]]):
        self.used, self.sent = used, 0

    def register(self, model: DistributedDataParallel) -> None:
        model.register_comm_hook(self, GradientExchange.average)

    def average(  # DistributedDataParallel reads the annotation
        self,
        bucket: dist.GradBucket,  # type: ignore[name-defined]
    ) -> Future[torch.Tensor]:
        """Average the used gradients of a bucket over the ranks, in place."""
        whole, used = bucket.buffer(), self.used()
        pairs = zip(bucket.parameters(), bucket.gradients(), strict=True)
        gradients = [gradient for parameter, gradient in pairs if parameter in used]
        if not gradients:
            done: Future[torch.Tensor] = Future()
            done.set_result(whole)
            return done
        # Divided before the sum, as by DistributedDataParallel, so that float16 does not overflow.
        packed = torch.cat([gradient.reshape(-1) for gradient in gradients])
        packed.div_(dist.get_world_size())
        self.sent += packed.nbytes

        def unpack(_: Future) -> torch.Tensor:
            parts = packed.split([gradient.numel() for gradient in gradients])
            for gradient, part in zip(gradients, parts, strict=True):
                gradient.copy_(part.view_as(gradient))
            return whole

        return dist.all_reduce(packed, async_op=True).get_future().then(unpack)


def path_parameters(model: nn.Module, supernet: Supernet) -> Callable[[], set[nn.Parameter]]:
    """Return a function that returns the parameters on the active path of a supernet."""

    @lru_cache(maxsize=1)
    def on_path(path: Genotype | None) -> set[nn.Parameter]:
        return {p for module in active_modules(model) for p in module.parameters(recurse=False)}

    return lambda: on_path(supernet.path)
