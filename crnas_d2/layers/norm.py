"""Which normalization layer a name in a config stands for in this process."""

from detectron2.utils import comm
from torch import nn

__all__ = ["resolve_norm", "zero_norm"]


def resolve_norm(norm: str, device: str) -> str:
    """Turn ``SyncBN`` into the synchronized BN that works here.

    ``torch.nn.SyncBatchNorm`` needs a process group and a GPU. One process has nothing to
    synchronize, so it gets plain BN; several processes on CPUs get Detectron2's own version.

    Args:
        norm: a name that ``detectron2.layers.get_norm`` knows.
        device: ``cfg.MODEL.DEVICE``.
    """
    if norm != "SyncBN":
        return norm
    if comm.get_world_size() == 1:
        return "BN"
    return "SyncBN" if device.startswith("cuda") else "naiveSyncBN"


def zero_norm(norm: nn.Module | None) -> bool:
    """Let a norm put out zeros whatever comes in: scale and shift 0, where it has them."""
    if getattr(norm, "weight", None) is None or getattr(norm, "bias", None) is None:
        return False
    nn.init.zeros_(norm.weight)
    nn.init.zeros_(norm.bias)
    return True
