"""What the families of this package have in common."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from detectron2.config import CfgNode
from detectron2.layers import CNNBlockBase
from detectron2.modeling import Backbone

from crnas_d2.common.errors import invalid
from crnas_d2.layers import resolve_norm
from crnas_d2.modeling.staged_body import StagedBody
from crnas_d2.space import Family

# How torchvision prepares the images of its networks; pixel values of 0 to 255.
TORCHVISION_INPUT = {
    "INPUT.FORMAT": "RGB",
    "MODEL.PIXEL_MEAN": [123.675, 116.28, 103.53],
    "MODEL.PIXEL_STD": [58.395, 57.12, 57.375],
}


@dataclass(eq=False, kw_only=True)
class SectionFamily(Family):
    """A family, a dataclass whose fields are the keys of its section of ``MODEL``.

    Raises:
        ValueError: ``out_features`` are empty, or not among the outputs of :attr:`body`.
    """

    body: ClassVar[type[StagedBody] | None] = None
    norm: str = "BN"
    out_features: Sequence[str] = ("res2", "res3", "res4", "res5")
    freeze_at: int = 0  # of MODEL.BACKBONE

    def __post_init__(self) -> None:
        features, outputs = list(self.out_features), [] if self.body is None else self.body.outputs
        if outputs and not (features and set(features) <= set(outputs)):
            *_, last = outputs
            expected = f"one or more of {', '.join(outputs)}: res2 to res5 for a detector with FPN"
            expected += f", [{last}] for a classifier"
            raise invalid(f"MODEL.{self.section}.OUT_FEATURES", features, expected)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        section = cfg.MODEL[cls.section]
        names = {field.name for field in fields(cls) if field.init} - {"freeze_at"}
        settings = {name: section[name.upper()] for name in names}
        settings["norm"] = resolve_norm(settings["norm"], cfg.MODEL.DEVICE)
        return {**settings, "freeze_at": cfg.MODEL.BACKBONE.FREEZE_AT}

    def make_body(self, stem: CNNBlockBase, stages: Mapping[str, Sequence]) -> Backbone:
        assert self.body is not None
        return self.body(stem, stages, self.out_features, self.freeze_at)


def published(
    section: str,
    values: Mapping[int, tuple[int, ...]],
    depth: int,
    what: str = "depth",
    fix: str = "Set MODEL.GENOTYPE.DEPTHS for another allocation",
) -> tuple[int, ...]:
    """Return what is published for a depth; raise ValueError for another ``DEPTH``."""
    if depth not in values:
        known = (" or " if len(values) < 3 else ", ").join(map(str, values))
        raise invalid(f"MODEL.{section}.DEPTH", depth, f"a published {what}, {known}", fix=fix)
    return values[depth]


def rounded_channels(channels: float) -> int:
    """Round to a multiple of 8 that is at least 90 % (torchvision's ``_make_divisible``)."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def block_shapes(
    number: int, in_channels: int, out_channels: int, stride: int
) -> list[tuple[int, int, int]]:
    """Return (in_channels, out_channels, stride) of each block; the first one changes them."""
    return [(in_channels, out_channels, stride), *[(out_channels, out_channels, 1)] * (number - 1)]


def rename_layers(names: Collection[str], layers: Mapping[str, str]) -> dict[str, str]:
    """Map tensors to those of renamed layers; a layer is what is before the last dot."""
    parts = {name: name.rpartition(".") for name in names}
    return {name: layers.get(layer, layer) + dot + end for name, (layer, dot, end) in parts.items()}
