"""What weights do not show: how the images were prepared, and which network of equal shapes it was.

The wrong convention costs accuracy, in silence, because all shapes fit.
"""

import math
from collections.abc import Mapping

from torch import Tensor

from crnas_d2.config.checks import find_spec
from crnas_d2.modeling.families import ResNetFamily
from crnas_d2.space import FAMILY_REGISTRY, Genotype

_STRIDE = "MODEL.RESNETS.STRIDE_IN_1X1"
_SPACE, _CHANNELS = "MODEL.SUPERNET.SPACE", "MODEL.GENOTYPE.CHANNELS"
_DEPTHS, _OPS = "MODEL.GENOTYPE.DEPTHS", "MODEL.GENOTYPE.OPS"
# Of Detectron2's model zoo, pixel values of 0 to 255.
_MSRA = {
    "INPUT.FORMAT": "BGR",
    "MODEL.PIXEL_MEAN": [103.53, 116.28, 123.675],
    "MODEL.PIXEL_STD": [1.0, 1.0, 1.0],
    _STRIDE: True,
}
# ResNeXt of Caffe2.
_FAIR = {**_MSRA, "MODEL.PIXEL_STD": [57.375, 57.12, 58.395], _STRIDE: False}


def describe_network(cfg, genotype: Genotype | None = None) -> dict[str, object]:
    """Return, by config key, what a checkpoint says about its network besides the weights.

    Args:
        genotype: of the network in the checkpoint, if the config is that of a supernet.
    """
    found = {
        "INPUT.FORMAT": cfg.INPUT.FORMAT,
        "MODEL.PIXEL_MEAN": [float(value) for value in cfg.MODEL.PIXEL_MEAN],
        "MODEL.PIXEL_STD": [float(value) for value in cfg.MODEL.PIXEL_STD],
    }
    spec = find_spec(cfg)
    if spec is None:
        if "resnet" in cfg.MODEL.BACKBONE.NAME and cfg.MODEL.RESNETS.DEPTH > 34:
            found[_STRIDE] = cfg.MODEL.RESNETS.STRIDE_IN_1X1
        return found
    found |= spec.family.convention()
    found[_SPACE] = spec.kind.name if spec.is_supernet and genotype is None else "none"
    searched = spec.kind.fields if spec.is_supernet and genotype is None else ()
    genotype = genotype or spec.genotype
    if genotype.depths and "depths" not in searched:
        found[_DEPTHS] = list(genotype.depths)
        if "ops" not in searched:
            found[_OPS] = list(genotype.ops or [0] * sum(genotype.depths))
    if genotype.channels:
        found[_CHANNELS] = [list(indices) for indices in genotype.channels]
    return found


def convention_of_file(content: Mapping, weights: Mapping[str, Tensor]) -> Mapping[str, object]:
    """Return what a file says about its network, or what is known of published ones.

    Args:
        content: of the file, without the weights.
        weights: by the names of the file.
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
    names = [name.removeprefix("module.") for name in weights]  # DDP's
    for _, family in FAMILY_REGISTRY:
        if family.published_names(names) is not None:
            return family.published_convention
    # Old files of Detectron2 hold the constants, of shape (3, 1, 1).
    return {
        f"MODEL.{name.upper()}": [float(value) for value in weights[name].flatten()]
        for name in ("pixel_mean", "pixel_std")
        if name in weights
    }


def differences(
    file: Mapping[str, object], own: Mapping[str, object], *, same_training: bool = False
) -> dict[str, object]:
    """Return the values of a file that differ from those of a network, by config key.

    Only keys that both have are compared, and operations only of networks of the same depths.

    Args:
        same_training: whether the file is to be resumed. Otherwise a network may take the weights
            of a supernet, and one with decoded channels those of its base.
    """
    ignored = set() if same_training else {_SPACE, _CHANNELS}
    if file.get(_DEPTHS) != own.get(_DEPTHS):
        ignored.add(_OPS)
    return {
        key: value
        for key, value in file.items()
        if key in own and key not in ignored and not _equal(value, own[key])
    }


def overrides(values: Mapping[str, object]) -> str:
    """Return values by config key as they are written on a command line."""
    return " ".join(
        f'{key} "{value}"' if isinstance(value, list) else f"{key} {value}"
        for key, value in values.items()
    )


def _equal(value: object, other: object) -> bool:
    if isinstance(value, list) and isinstance(other, list):
        return len(value) == len(other) and all(map(_equal, value, other))
    if isinstance(value, float) or isinstance(other, float):
        return math.isclose(value, other, rel_tol=1e-3)
    return value == other
