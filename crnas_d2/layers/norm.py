"""The normalization layer that a name in a config means in this process."""

from detectron2.utils import comm
from torch import nn


def resolve_norm(norm: str, device: str) -> str:
    """Replace ``SyncBN`` by the synchronized BN that works in this process.

    ``torch.nn.SyncBatchNorm`` needs a process group and a GPU: one process gets plain BN, several
    processes on CPUs get Detectron2's own version.
    """
    if norm != "SyncBN":
        return norm
    if comm.get_world_size() == 1:
        return "BN"
    return "SyncBN" if device.startswith("cuda") else "naiveSyncBN"


def zero_norm(norm: nn.Module | None) -> bool:
    """Set scale and shift of a norm to 0, and so its output; return whether it has both."""
    scale, shift = getattr(norm, "weight", None), getattr(norm, "bias", None)
    if scale is None or shift is None:
        return False
    nn.init.zeros_(scale)
    nn.init.zeros_(shift)
    return True
