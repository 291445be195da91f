"""A family like another one, whose convolutions have lost channels: a module for ``PLUGINS``.

The networks of the rows ``pruned-*`` are of this family, so that they are trained, evaluated and
counted by the same commands as all others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from detectron2.config import CfgNode
from detectron2.layers import CNNBlockBase, get_norm
from detectron2.modeling import Backbone
from torch import nn

from crnas_d2.common.errors import invalid
from crnas_d2.space import FAMILY_REGISTRY, Family, Genotype, Operation

Widths = tuple[tuple[str, int, int], ...]
"""Of each convolution: its name in the body, output channels, and input channels per group."""


def add_config(cfg: CfgNode) -> None:
    cfg.MODEL.PRUNED = CfgNode()
    # The family of the network before it was pruned, a name in FAMILY_REGISTRY. Its section of
    # MODEL says the rest.
    cfg.MODEL.PRUNED.FAMILY = "resnet"
    # What is left of each convolution of the body: [name, output channels, input channels per
    # group], e.g. ["stem.conv1", 24, 3].
    cfg.MODEL.PRUNED.WIDTHS = []


@FAMILY_REGISTRY.register("pruned")
@dataclass(eq=False)
class PrunedFamily(Family):
    """The published network of a family, with other widths; nothing else may vary.

    Each block's last convolution makes its output; all convolutions are plain or depthwise.
    """

    base: Family
    widths: Widths

    def __post_init__(self) -> None:
        self.stages, self.single_layers = self.base.stages, self.base.single_layers
        self.norm, self.freeze_at = self.base.norm, self.base.freeze_at
        self._of_convs = {name: channels for name, *channels in self.widths}

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        family = FAMILY_REGISTRY.get(cfg.MODEL.PRUNED.FAMILY)
        widths = tuple((name, out, into) for name, out, into in cfg.MODEL.PRUNED.WIDTHS)
        return {"base": family(**family.from_config(cfg)), "widths": widths}

    def baseline_depths(self) -> tuple[int, ...]:
        return self.base.baseline_depths()

    def check(self, genotype: Genotype) -> None:
        if genotype.depths != self.baseline_depths():
            expected = f"{list(self.baseline_depths())}, of which MODEL.PRUNED.WIDTHS are"
            raise invalid("MODEL.GENOTYPE.DEPTHS", list(genotype.depths), expected)

    def convention(self) -> dict[str, object]:
        return self.base.convention()

    def make_stem(self, in_channels: int) -> CNNBlockBase:
        return self._pruned("stem", self.base.make_stem(in_channels))

    def make_stage(self, stage: str, operations: Sequence[Operation]) -> list[CNNBlockBase]:
        blocks = self.base.make_stage(stage, self.base.operations[:1] * len(operations))
        return [self._pruned(f"{stage}.{i}", block) for i, block in enumerate(blocks)]

    def make_body(self, stem: CNNBlockBase, stages: Mapping[str, Sequence]) -> Backbone:
        return self.base.make_body(stem, stages)

    def _pruned(self, block_name: str, block: CNNBlockBase) -> CNNBlockBase:
        convs = [(n, m) for n, m in block.named_modules() if isinstance(m, nn.Conv2d)]
        for name, conv in convs:
            if (known := self._of_convs.get(f"{block_name}.{name}")) is None:
                expected = f"one of them for {block_name}.{name}"
                raise invalid("MODEL.PRUNED.WIDTHS", sorted(self._of_convs), expected)
            _resize(conv, *known, norm=self.norm)
        block.out_channels = convs[-1][1].out_channels
        return block


def _resize(conv: Any, out_channels: int, in_channels: int, norm: str) -> None:
    """Keep the first channels of a Detectron2 convolution, in place; its norm starts anew."""
    conv.weight = nn.Parameter(conv.weight.detach()[:out_channels, :in_channels].clone())
    conv.out_channels = out_channels
    conv.groups = out_channels if conv.groups > 1 else 1
    conv.in_channels = in_channels * conv.groups
    eps = getattr(conv.norm, "eps", None)
    conv.norm = get_norm(norm, out_channels)
    if eps is not None:
        conv.norm.eps = eps
