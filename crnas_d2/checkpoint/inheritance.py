"""Starting as a trained base network: all options of a supernet compute what it computes.

NATS starts every dilation of a convolution from the pretrained weight (section 3.4). The same for
other options: larger kernels are those of the base with zeros around them, blocks that the base
does not have are identities. So all paths speak one language from the first step on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from detectron2.layers import CNNBlockBase
from torch import Size, Tensor, nn
from torch.nn import functional as F

from crnas_d2.config import NetworkSpec
from crnas_d2.layers import ChoiceBlock
from crnas_d2.space import Family

__all__ = ["Inheritance", "inherit_blocks", "pad_kernel"]


@dataclass
class Inheritance:
    """What the blocks of a body take from a base network.

    Attributes:
        copied: names of blocks with all weights of the base's, kernels padded where larger.
        identities: names of blocks that the base does not have and that start as the identity.
        from_scratch: names of blocks with another structure than that of the base.
    """

    copied: list[str] = field(default_factory=list)
    identities: list[str] = field(default_factory=list)
    from_scratch: list[str] = field(default_factory=list)

    def describe(self) -> list[str]:
        """What happens to the blocks, a line each."""
        parts = {
            "blocks start as those of the base network": self.copied,
            "blocks that it does not have start as the identity": self.identities,
            "blocks of another structure start from scratch": self.from_scratch,
        }
        return [
            f"{len(names)} {what}: {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}."
            for what, names in parts.items()
            if names
        ]


def pad_kernel(weight: Tensor, shape: Size) -> Tensor | None:
    """A convolution's weight as the centre of a larger kernel that computes the same.

    Args:
        weight: (out_channels, in_channels / groups, k, k).
        shape: (out_channels, in_channels / groups, K, K), with K - k even.

    Returns:
        ``None`` where the shapes do not allow it.
    """
    if weight.dim() != 4 or len(shape) != 4 or weight.shape[:2] != shape[:2]:
        return None
    margins = [new - old for old, new in zip(weight.shape[2:], shape[2:], strict=True)]
    if min(margins) < 0 or any(margin % 2 for margin in margins):
        return None
    height, width = (margin // 2 for margin in margins)
    return F.pad(weight, (width, width, height, height))


def inherit_blocks(
    model: nn.Module, tensors: dict[str, Tensor], unimportant: Sequence[str]
) -> Inheritance:
    """Complete what a model takes from a base network, block by block.

    A block that would take a part of its weights only has another structure: it takes none. One
    that takes none becomes the identity, if its family can make it one.

    Args:
        model: with a body of ours.
        tensors: by name, what matches; changed in place.
        unimportant: ends of names of tensors that files may lack.
    """
    [(prefix, body)] = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(getattr(module, "spec", None), NetworkSpec)
    ]
    family: Family = body.spec.family
    found = Inheritance()
    for name, block in body.named_modules(prefix=prefix):
        if not isinstance(block, CNNBlockBase) or isinstance(block, ChoiceBlock):
            continue
        names = [f"{name}.{part}".lstrip(".") for part in block.state_dict()]
        needed = {other for other in names if not other.endswith(tuple(unimportant))}
        if needed <= set(tensors):
            found.copied.append(name)
            continue
        is_new = not needed & set(tensors)
        for other in names:
            tensors.pop(other, None)
        if is_new and family.make_identity(block):
            found.identities.append(name)
        else:
            found.from_scratch.append(name)
    return found
