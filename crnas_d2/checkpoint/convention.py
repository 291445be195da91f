"""What weights do not show: how the images were prepared, and which network of equal shapes it was.

A wrong convention lowers the accuracy silently, because all shapes fit.
"""

import math
from collections.abc import Mapping

from detectron2.config import CfgNode

from crnas_d2.common.plain_yaml import is_list, without_tuples
from crnas_d2.config.architectures import find_architecture
from crnas_d2.config.checks import find_spec
from crnas_d2.space import Genotype

_SPACE, _CHANNELS = "MODEL.SUPERNET.SPACE", "MODEL.GENOTYPE.CHANNELS"
SIZES, IMAGE_SIZE = "MODEL.ANCHOR_GENERATOR.SIZES", "MODEL.GENOTYPE.IMAGE_SIZE"
_DEPTHS, _OPS = "MODEL.GENOTYPE.DEPTHS", "MODEL.GENOTYPE.OPS"
_POOLER = ("POOLER_TYPE", "POOLER_RESOLUTION", "POOLER_SAMPLING_RATIO")


def describe_network(cfg: CfgNode, genotype: Genotype | None = None) -> dict[str, object]:
    """Return, by config key, what a checkpoint says about its network besides the weights.

    The genotype is that of the network in the checkpoint, if the config is that of a supernet.
    """
    found: dict[str, object] = {
        "INPUT.FORMAT": cfg.INPUT.FORMAT,
        "MODEL.PIXEL_MEAN": [float(value) for value in cfg.MODEL.PIXEL_MEAN],
        "MODEL.PIXEL_STD": [float(value) for value in cfg.MODEL.PIXEL_STD],
        **_parts(cfg),
    }
    spec = find_spec(cfg)
    if spec is None:
        if "resnet" in cfg.MODEL.BACKBONE.NAME and cfg.MODEL.RESNETS.DEPTH > 34:
            found["MODEL.RESNETS.STRIDE_IN_1X1"] = cfg.MODEL.RESNETS.STRIDE_IN_1X1
        if "resnet" in cfg.MODEL.BACKBONE.NAME:
            found["MODEL.RESNETS.RES5_DILATION"] = cfg.MODEL.RESNETS.RES5_DILATION
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
    if genotype.image_size:
        found[IMAGE_SIZE] = list(genotype.image_size)
    if genotype.channels:
        found[_CHANNELS] = [list(indices) for indices in genotype.channels]
    return found


def _parts(cfg: CfgNode) -> dict[str, object]:
    """Return the settings of neck and heads that change what their weights compute."""
    model, architecture = cfg.MODEL, find_architecture(cfg)
    heads, parts = "roi heads" in architecture.parts, architecture.parts
    is_cascade = "Cascade" in model.ROI_HEADS.NAME
    rotated = ("ANGLES",) if "Rotated" in model.ANCHOR_GENERATOR.NAME else ()
    anchors: tuple[str, ...] = ("NAME", "SIZES", "ASPECT_RATIOS", "OFFSET", *rotated)
    boxes = ("BBOX_REG_WEIGHTS",)
    found: dict[str, object] = {}
    for section, is_used, keys in (
        ("RESNETS", True, ()),
        ("FPN", bool(model.FPN.IN_FEATURES) and "fpn" in model.BACKBONE.NAME, ("FUSE_TYPE",)),
        ("ANCHOR_GENERATOR", "anchors" in parts, anchors),
        ("RPN", "proposals" in parts, ("IN_FEATURES", *boxes)),
        ("RETINANET", architecture.class_section == "RETINANET", ("IN_FEATURES", *boxes)),
        ("ROI_HEADS", heads, ("IN_FEATURES",)),
        ("ROI_BOX_HEAD", heads, (*_POOLER, *(() if is_cascade else boxes))),
        ("ROI_BOX_CASCADE_HEAD", heads and is_cascade, boxes),
        ("ROI_MASK_HEAD", heads and model.MASK_ON, _POOLER),
        ("ROI_KEYPOINT_HEAD", heads and model.KEYPOINT_ON, _POOLER),
        ("SEM_SEG_HEAD", "segmentation" in parts, ("IN_FEATURES", "COMMON_STRIDE")),
    ):
        for key in keys if is_used else ():
            found[f"MODEL.{section}.{key}"] = without_tuples(model[section][key])
        # Other norms show in the names of their tensors.
        if is_used and model[section].get("NORM") in ("GN", "LN"):
            found[f"MODEL.{section}.NORM"] = model[section].NORM
    for key in ("SIZES", "ASPECT_RATIOS"):  # one list stands for all features
        lists = found.get(f"MODEL.ANCHOR_GENERATOR.{key}")
        if is_list(lists) and all(each == lists[0] for each in lists):
            found[f"MODEL.ANCHOR_GENERATOR.{key}"] = list(lists[:1])
    return found


def differences(
    file: Mapping[str, object], own: Mapping[str, object], *, same_training: bool = False
) -> dict[str, object]:
    """Return the values of a file that differ from those of a network, by config key.

    Only keys that both have are compared, and operations only of networks of the same depths.
    Unless the file is to be resumed, as the ``same_training``, a network may take the weights of a
    supernet, and one with decoded channels those of its base.
    """
    ignored = set() if same_training else {_SPACE, _CHANNELS, IMAGE_SIZE}
    if file.get(_DEPTHS) != own.get(_DEPTHS):
        ignored.add(_OPS)
    return {
        key: value
        for key, value in file.items()
        if key in own and key not in ignored and not _equal(value, own[key])
    }


def are_scaled(sizes: object, own: object) -> bool:
    """Whether all anchors differ by one factor, as they do for images of another size."""
    lists = [each for each in (sizes, own) if is_list(each) and all(map(is_list, each))]
    if len(lists) < 2 or list(map(len, lists[0])) != list(map(len, lists[1])):
        return False
    pairs = [pair for both in zip(*lists, strict=True) for pair in zip(*both, strict=True)]
    ratios = [after / before for before, after in pairs]
    return all(math.isclose(ratio, ratios[0], rel_tol=1e-2) for ratio in ratios)  # rounded


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
