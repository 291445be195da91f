"""The memory of a training step or of an inference, counted on the meta device."""

import weakref
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .detector_cost import detector_heads


def step_memory(
    model: Any, size: tuple[int, int], images: int, proposals: int, mask_rois: int, *, trains: bool
) -> int:
    """Return the peak memory in bytes of a forward and, in a training, a backward pass.

    What is kept for the backward pass is most of it; gradients are included. Not counted are the
    weights, ROIAlign, anchors and losses, and what cuDNN and the allocator need besides.

    Args:
        model: of :func:`~crnas_d2.cost.meta_model`; of a supernet, the path is set.
        size: (height, width) of the images, pixels, as they are padded.
        images: per process.
        proposals, mask_rois: regions per image that a detector runs on.

    Raises ValueError if the network has parts that are not known.
    """
    model.train(trains)
    model.zero_grad(set_to_none=True)
    with torch.set_grad_enabled(trains), _PeakMemory(model) as memory:
        outputs = _forward(model, size, images, proposals, mask_rois)
        if trains:
            torch.autograd.backward([output.sum() for output in outputs if output.requires_grad])
        del outputs
    model.zero_grad(set_to_none=True)
    return memory.peak


def _forward(
    model: Any, size: tuple[int, int], images: int, proposals: int, mask_rois: int
) -> list[torch.Tensor]:
    batch = torch.empty(images, len(model.pixel_mean), *size, device="meta")  # kept to the end
    features = model.backbone(batch)
    parts = detector_heads(model, features, images * proposals, images * mask_rois)
    # Each part is made when the one before has run, so that its regions are counted only then.
    return [tensor for part in parts for tensor in tree_leaves(part.run(*part.inputs))]


class _PeakMemory(TorchDispatchMode):
    """Counts the most bytes of tensors alive at once, without those that a model had before."""

    def __init__(self, model: nn.Module):
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = self._alive = 0
        self._known = weakref.WeakSet[torch.UntypedStorage]()
        for tensor in (*model.parameters(), *model.buffers()):
            self._known.add(tensor.untyped_storage())

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        for tensor in filter(torch.is_tensor, tree_leaves(result)):
            storage = tensor.untyped_storage()  # views and in-place results share one
            if storage not in self._known:
                self._known.add(storage)
                self._alive += storage.nbytes()
                self.peak = max(self.peak, self._alive)
                weakref.finalize(storage, self._free, storage.nbytes())
        return result

    def _free(self, num_bytes: int) -> None:
        self._alive -= num_bytes
