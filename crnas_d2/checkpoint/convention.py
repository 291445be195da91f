"""What weights do not show: how the images were prepared, and which network of equal shapes it was.

A wrong convention lowers the accuracy silently, because all shapes fit.
"""

import math
from collections.abc import Mapping

from detectron2.config import CfgNode

from crnas_d2.config.checks import find_spec
from crnas_d2.space import Genotype

_SPACE, _CHANNELS = "MODEL.SUPERNET.SPACE", "MODEL.GENOTYPE.CHANNELS"
_DEPTHS, _OPS = "MODEL.GENOTYPE.DEPTHS", "MODEL.GENOTYPE.OPS"


def describe_network(cfg: CfgNode, genotype: Genotype | None = None) -> dict[str, object]:
    """Return, by config key, what a checkpoint says about its network besides the weights.

    The genotype is that of the network in the checkpoint, if the config is that of a supernet.
    """
    found: dict[str, object] = {
        "INPUT.FORMAT": cfg.INPUT.FORMAT,
        "MODEL.PIXEL_MEAN": [float(value) for value in cfg.MODEL.PIXEL_MEAN],
        "MODEL.PIXEL_STD": [float(value) for value in cfg.MODEL.PIXEL_STD],
    }
    spec = find_spec(cfg)
    if spec is None:
        if "resnet" in cfg.MODEL.BACKBONE.NAME and cfg.MODEL.RESNETS.DEPTH > 34:
            found["MODEL.RESNETS.STRIDE_IN_1X1"] = cfg.MODEL.RESNETS.STRIDE_IN_1X1
        return found
    found |= spec.family.convention()
    kind = spec.kind if spec.is_supernet and genotype is None else None
    found[_SPACE] = kind.name if kind else "none"
    searched = kind.fields if kind else ()
    genotype = genotype or spec.genotype
    if genotype.depths and "depths" not in searched:
        found[_DEPTHS] = list(genotype.depths)
        if "ops" not in searched:
            found[_OPS] = list(genotype.ops or [0] * sum(genotype.depths))
    if genotype.channels:
        found[_CHANNELS] = [list(indices) for indices in genotype.channels]
    return found


def differences(
    file: Mapping[str, object], own: Mapping[str, object], *, same_training: bool = False
) -> dict[str, object]:
    """Return the values of a file that differ from those of a network, by config key.

    Only keys that both have are compared, and operations only of networks of the same depths.
    Unless the file is to be resumed, as the ``same_training``, a network may take the weights of a
    supernet, and one with decoded channels those of its base.
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
        return math.isclose(value, other, rel_tol=1e-3)  # type: ignore[arg-type]
    return value == other
