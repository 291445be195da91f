"""Published files of weights: the names of their tensors, and how their images were prepared."""

from collections.abc import Iterable, Mapping
from typing import Any

from detectron2.checkpoint.c2_model_loading import convert_c2_detectron_names
from torch import Tensor

from crnas_d2.modeling.families import ResNetFamily
from crnas_d2.space import FAMILY_REGISTRY, Family

# Of Detectron2's model zoo, pixel values of 0 to 255.
_MSRA = {
    "INPUT.FORMAT": "BGR",
    "MODEL.PIXEL_MEAN": [103.53, 116.28, 123.675],
    "MODEL.PIXEL_STD": [1.0, 1.0, 1.0],
    "MODEL.RESNETS.STRIDE_IN_1X1": True,
}
# ResNeXt of Caffe2.
_FAIR = {
    **_MSRA,
    "MODEL.PIXEL_STD": [57.375, 57.12, 58.395],
    "MODEL.RESNETS.STRIDE_IN_1X1": False,
}


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
    author = content.get("__author__")
    if author == "Caffe2":
        middle = [value for name, value in weights.items() if name.endswith("branch2b_w")]
        # (out, in / groups, 3, 3)
        return _FAIR if any(value.shape[0] != value.shape[1] for value in middle) else _MSRA
    if author == "torchvision":  # ResNets that Detectron2 has converted
        return ResNetFamily.published_convention
    family, _ = _published_by(weights)
    if family is not None:
        return family.published_convention
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
