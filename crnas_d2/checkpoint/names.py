"""Convert the names in weight files to those of a Detectron2 network."""

from collections.abc import Iterable

from detectron2.checkpoint.c2_model_loading import convert_c2_detectron_names
from torch import Tensor

from crnas_d2.space import FAMILY_REGISTRY

# Of the body of a network: under a neck, in a detector or classifier without one, in a backbone
# with a neck but no detector. A bare body has no prefix.
BODY_PREFIXES = ("backbone.bottom_up.", "backbone.", "bottom_up.")


def body_prefix(names: Iterable[str]) -> str:
    """Return the prefix of the body among all names of a network."""
    names = list(names)
    return next((p for p in BODY_PREFIXES if any(name.startswith(p) for name in names)), "")


def to_detectron2_names(
    weights: dict[str, Tensor], author: str | None = None
) -> list[tuple[str, str, Tensor]]:
    """Convert names of Caffe2 and of the families' published files; keep those of Detectron2.

    Files that Detectron2 converted from Caffe2 are recognized by their ``__author__``, others by
    their names, see :meth:`Family.published_names`.

    Args:
        author: ``__author__`` of the file.

    Returns:
        ``(name in the file, Detectron2's name, tensor)`` of each tensor.
    """
    if author == "Caffe2":
        # It needs the tensors, because it also moves the background class of predictors.
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
