"""Published files of weights: the names of their tensors, and how their images were prepared."""

from collections.abc import Iterable, Mapping
from typing import Any

from detectron2.checkpoint.c2_model_loading import convert_c2_detectron_names
from torch import Tensor

from crnas_d2.space import FAMILY_REGISTRY, Family


def to_detectron2_names(
    weights: Mapping[str, Tensor], author: str | None = None
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
    _, names = _published_by(weights)
    return [(name, names[name], tensor) for name, tensor in weights.items()]


def convention_of_file(
    content: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> Mapping[str, object]:
    """Return what a file says about its network, or what is known of published ones.

    Args:
        content: of the file, without the weights.
        weights: by the names of the file.

    Returns:
        by config key; empty if nothing is known.
    """
    if "network" in content:
        return content["network"]
    if author := content.get("__author__"):
        for _, family in FAMILY_REGISTRY:
            if convention := family.converted_convention(author, weights):
                return convention
    published, _ = _published_by(weights)
    if published is not None:
        return published.published_convention
    # Old files of Detectron2 hold the constants, of shape (3, 1, 1).
    return {
        f"MODEL.{name.upper()}": [float(value) for value in weights[name].flatten()]
        for name in ("pixel_mean", "pixel_std")
        if name in weights
    }


def _published_by(names: Iterable[str]) -> tuple[type[Family] | None, dict[str, str]]:
    """Return the family whose published names these are, and Detectron2's names for them."""
    names = list(names)
    strip = "module." if all(name.startswith("module.") for name in names) else ""  # DDP's
    plain = [name.removeprefix(strip) for name in names]
    for _, family in FAMILY_REGISTRY:
        found = family.published_names(plain)
        if found is not None:
            return family, dict(zip(names, (found[name] for name in plain), strict=True))
    return None, dict(zip(names, plain, strict=True))
