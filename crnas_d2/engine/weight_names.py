"""The names that weight files use, turned into those of a Detectron2 network."""

import re
from collections.abc import Iterable

from detectron2.checkpoint.c2_model_loading import convert_c2_detectron_names
from torch import Tensor

__all__ = ["body_prefix", "to_detectron2_names"]

# Where the body of a network lies: under a neck, in a detector or classifier without one, in a
# bare neck. A bare body has no prefix.
BODY_PREFIXES = ("backbone.bottom_up.", "backbone.", "bottom_up.")

_TORCHVISION_BLOCK = re.compile(r"layer[1-4]\.\d+\.")


def body_prefix(names: Iterable[str]) -> str:
    """What the names of the body begin with, among all names of a network."""
    names = list(names)
    return next((p for p in BODY_PREFIXES if any(name.startswith(p) for name in names)), "")


def to_detectron2_names(
    weights: dict[str, Tensor], author: str | None = None
) -> list[tuple[str, str, Tensor]]:
    """Reads the names of Caffe2 and torchvision; those of Detectron2 stay.

    Detectron2's converted files are known by their ``__author__``. A raw state dict of a
    torchvision ResNet or ResNeXt is known by its ``layer1.0.*``, which no Detectron2 network
    has; its names become those of Detectron2's ``tools/convert-torchvision-to-d2.py``, but that
    the layer of the classes is ``linear``, as in Detectron2's ResNet.

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
    if any(_TORCHVISION_BLOCK.match(name) for name in plain.values()):
        plain = {name: _from_torchvision(other) for name, other in plain.items()}
    return [(name, plain[name], tensor) for name, tensor in weights.items()]


def _from_torchvision(name: str) -> str:
    if name.startswith(("conv1.", "bn1.")):
        name = f"stem.{name}"
    name = re.sub(r"^fc\.", "linear.", name)
    name = re.sub(r"^layer([1-4])\.", lambda match: f"res{int(match[1]) + 1}.", name)
    name = re.sub(r"\bbn(\d)\.", r"conv\1.norm.", name)
    return name.replace(".downsample.0.", ".shortcut.").replace(".downsample.1.", ".shortcut.norm.")
