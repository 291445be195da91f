"""What the settings of our families have in common."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from detectron2.config import CfgNode

from crnas_d2.common.errors import invalid
from crnas_d2.layers import resolve_norm
from crnas_d2.space import Family

# How torchvision prepares the images of its networks; pixel values of 0 to 255.
TORCHVISION_INPUT = {
    "INPUT.FORMAT": "RGB",
    "MODEL.PIXEL_MEAN": [123.675, 116.28, 103.53],
    "MODEL.PIXEL_STD": [58.395, 57.12, 57.375],
}


def settings_from_config(family: type[Family], cfg: CfgNode) -> dict[str, Any]:
    """Read the fields of a family, a dataclass, from the keys of its section of ``MODEL``."""
    section = cfg.MODEL[family.section]
    names = {field.name for field in fields(family) if field.init}  # type: ignore[arg-type]
    settings = {name: section[name.upper()] for name in names - {"freeze_at"}}
    settings["norm"] = resolve_norm(settings["norm"], cfg.MODEL.DEVICE)
    return {**settings, "freeze_at": cfg.MODEL.BACKBONE.FREEZE_AT}


def rounded_channels(channels: float) -> int:
    """Round to a multiple of 8 that is at least 90 % (torchvision's ``_make_divisible``)."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def check_outputs(
    key: str, out_features: Sequence[str], outputs: Mapping[str, Sequence[str]]
) -> None:
    """Raise ValueError for outputs that a body does not have, or for no output at all.

    Args:
        key: the config key of ``out_features``.
        outputs: see :class:`StagedBody`; the last one is for a classifier.
    """
    features, names = list(out_features), list(outputs)
    if not features or not set(features) <= set(names):
        raise invalid(
            key,
            features,
            f"one or more of {', '.join(names)}: res2 to res5 for a detector with FPN, "
            f"[{names[-1]}] for a classifier",
        )
