"""Initialize a network or a supernet from a trained base network.

NATS starts every dilation of a convolution from the pretrained weight (section 3.4). Here larger
kernels start as those of the base, padded with zeros, and blocks that the base does not have start
as identities. So the features of all these paths match from the first step on. Smaller kernels
start as the centres of those of the base, as in Once-for-All (Cai et al., ICLR 2020), which is near
to it at best.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from detectron2.layers import CNNBlockBase
from torch import Size, Tensor, nn
from torch.nn import functional as F

from crnas_d2.common.formats import format_few
from crnas_d2.config import NetworkSpec
from crnas_d2.layers import ChoiceBlock


@dataclass
class Inheritance:
    """What the blocks of a body take from a base network.

    Each block has its name in one of the lists: it takes all weights, with larger kernels padded;
    it takes all weights, but only the centre of a kernel; the base does not have it; or it has
    another structure than that of the base.
    """

    copied: list[str] = field(default_factory=list)
    cropped: list[str] = field(default_factory=list)
    identities: list[str] = field(default_factory=list)
    from_scratch: list[str] = field(default_factory=list)

    def describe(self) -> list[str]:
        """Return a line for each way in which blocks start."""
        parts = {
            "blocks start as those of the base network": self.copied,
            "blocks start with the centres of its larger kernels": self.cropped,
            "blocks that it does not have start as the identity": self.identities,
            "blocks of another structure start from scratch": self.from_scratch,
        }
        return [
            f"{len(names)} {what}: {format_few(names)}." for what, names in parts.items() if names
        ]


def fit_kernel(weight: Tensor, shape: Size) -> Tensor | None:
    """Pad the weight of a convolution with zeros to a larger kernel, or take its centre.

    From (out_channels, in_channels / groups, k, k) to K, K with K - k even and K at least 3; a
    larger kernel computes the same. ``None`` if the shapes do not allow it.
    """
    if weight.dim() != 4 or len(shape) != 4 or weight.shape[:2] != shape[:2]:
        return None
    margins = [new - old for old, new in zip(weight.shape[2:], shape[2:], strict=True)]
    if min(shape[2:]) < 3 or any(margin % 2 for margin in margins):
        return None
    height, width = (margin // 2 for margin in margins)
    return F.pad(weight, (width, width, height, height))  # a negative margin crops


def inherit_blocks(
    model: nn.Module,
    tensors: dict[str, Tensor],
    unimportant: Sequence[str],
    cropped: Collection[str] = (),
) -> Inheritance:
    """Decide block by block what a model with a body of ours takes from a base network.

    A block only some of whose weights match has another structure, and takes none of them. A block
    without any match becomes the identity, if its family can do that.

    Args:
        tensors: the matching tensors by name; changed in place.
        unimportant: suffixes of the names of tensors that files may lack.
        cropped: the names of those that are centres of larger kernels.
    """
    modules: Iterable[tuple[str, Any]] = model.named_modules()
    [(prefix, body)] = [m for m in modules if isinstance(getattr(m[1], "spec", None), NetworkSpec)]
    found = Inheritance()
    for name, block in body.named_modules(prefix=prefix):
        if not isinstance(block, CNNBlockBase) or isinstance(block, ChoiceBlock):
            continue
        names = [f"{name}.{part}".lstrip(".") for part in block.state_dict()]
        needed = {other for other in names if not other.endswith(tuple(unimportant))}
        if needed <= set(tensors):
            (found.copied if needed.isdisjoint(cropped) else found.cropped).append(name)
            continue
        is_new = not needed & set(tensors)
        for other in names:
            tensors.pop(other, None)
        if is_new and body.spec.family.make_identity(block):
            found.identities.append(name)
        else:
            found.from_scratch.append(name)
    return found
