"""The names that weight files use, turned into those of a Detectron2 network."""

import re
from collections.abc import Iterable

from detectron2.checkpoint.c2_model_loading import convert_c2_detectron_names
from torch import Tensor

from crnas_d2.space import FAMILIES

__all__ = ["body_prefix", "to_detectron2_names"]

# Where the body of a network lies: under a neck, in a detector or classifier without one, in a
# bare neck. A bare body has no prefix.
BODY_PREFIXES = ("backbone.bottom_up.", "backbone.", "bottom_up.")

_TORCHVISION_BLOCK = re.compile(r"layer[1-4]\.\d+\.")
# The first block's depthwise convolution and the last convolution; its index tells that the
# allocation is the published one.
_TORCHVISION_MOBILENETV2 = {"features.1.conv.0.0.weight", "features.18.0.weight"}


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
    the layer of the classes is ``linear``, as in Detectron2's ResNet. One of torchvision's
    MobileNetV2 is known by ``features.1.conv.0.0.*`` and ``features.18.0.*``.

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
    elif set(plain.values()) >= _TORCHVISION_MOBILENETV2:
        plain = {name: _from_torchvision_mobilenetv2(other) for name, other in plain.items()}
    return [(name, plain[name], tensor) for name, tensor in weights.items()]


def _from_torchvision(name: str) -> str:
    if name.startswith(("conv1.", "bn1.")):
        name = f"stem.{name}"
    name = re.sub(r"^fc\.", "linear.", name)
    name = re.sub(r"^layer([1-4])\.", lambda match: f"res{int(match[1]) + 1}.", name)
    name = re.sub(r"\bbn(\d)\.", r"conv\1.norm.", name)
    return name.replace(".downsample.0.", ".shortcut.").replace(".downsample.1.", ".shortcut.norm.")


def _mobilenetv2_layers() -> dict[str, str]:
    """By name of each layer of torchvision's MobileNetV2, the name of ours."""
    family = FAMILIES["mobilenetv2"]
    [depths] = family.baseline_depths.values()
    stages = zip(family.stages, depths, strict=True)
    places = [(stage, index) for stage, depth in stages for index in range(depth)]
    names = {"classifier.1": "linear"}
    for number, (stage, index) in enumerate(places[:-1]):  # the last one is the classifier
        theirs, ours = f"features.{number}", f"{stage}.{index}"
        if stage in ("stem", "tail"):
            ours = "stem" if stage == "stem" else ours  # no sequence of blocks
            names |= {f"{theirs}.0": f"{ours}.conv1", f"{theirs}.1": f"{ours}.conv1.norm"}
            continue
        # Pairs of convolution and norm but for the last two, which lie in the block itself. The
        # first block has no expansion.
        pairs = ["conv2"] if stage == "c16" else ["conv1", "conv2"]
        for pair, conv in enumerate(pairs):
            names[f"{theirs}.conv.{pair}.0"] = f"{ours}.{conv}"
            names[f"{theirs}.conv.{pair}.1"] = f"{ours}.{conv}.norm"
        names[f"{theirs}.conv.{len(pairs)}"] = f"{ours}.conv3"
        names[f"{theirs}.conv.{len(pairs) + 1}"] = f"{ours}.conv3.norm"
    return names


_MOBILENETV2_LAYERS = _mobilenetv2_layers()


def _from_torchvision_mobilenetv2(name: str) -> str:
    layer, dot, parameter = name.rpartition(".")
    return _MOBILENETV2_LAYERS.get(layer, layer) + dot + parameter
