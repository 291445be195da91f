"""The names that weight files use, turned into those of a Detectron2 network."""

from collections.abc import Iterable

from detectron2.checkpoint.c2_model_loading import convert_c2_detectron_names
from torch import Tensor

from crnas_d2.space import FAMILY_REGISTRY

__all__ = ["body_prefix", "to_detectron2_names"]

# Where the body of a network lies: under a neck, in a detector or classifier without one, in a
# bare neck. A bare body has no prefix.
BODY_PREFIXES = ("backbone.bottom_up.", "backbone.", "bottom_up.")


def body_prefix(names: Iterable[str]) -> str:
    """What the names of the body begin with, among all names of a network."""
    names = list(names)
    return next((p for p in BODY_PREFIXES if any(name.startswith(p) for name in names)), "")


def to_detectron2_names(
    weights: dict[str, Tensor], author: str | None = None
) -> list[tuple[str, str, Tensor]]:
    """Read the names of Caffe2 and of the families' published files; those of Detectron2 stay.

    Detectron2's converted files are known by their ``__author__``, others by their names, see
    :meth:`Family.published_names`.

    Args:
        author: ``__author__`` of the file.

    Returns:
        ``(name in the file, Detectron2's name, tensor)`` of each tensor.
    """
    if author == "Caffe2":
        # It also moves the background class of Detectron1's predictors, so it wants the tensors.
        renamed, originals = convert_c2_detectron_names(weights)
        return [(originals[name], name, tensor) for name, tensor in renamed.items()]
    strip = "module." if all(name.startswith("module.") for name in weights) else ""  # DDP's
    plain = {name: name.removeprefix(strip) for name in weights}
    for _, family in FAMILY_REGISTRY:
        names = family.published_names(plain.values())
        if names is not None:
            plain = {name: names[other] for name, other in plain.items()}
            break
    return [(name, plain[name], tensor) for name, tensor in weights.items()]
