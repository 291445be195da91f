"""ShuffleNetV2 (Ma et al., ECCV 2018): what DetNAS varies in it."""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Any

from detectron2.config import CfgNode
from detectron2.layers import CNNBlockBase

from crnas_d2.common.errors import invalid
from crnas_d2.layers import ConvBlock, ShuffleBlock, XceptionBlock
from crnas_d2.modeling.staged_body import StagedBody
from crnas_d2.space import FAMILY_REGISTRY, Family, Genotype, Operation

from .settings import check_outputs, settings_from_config

# DetNAS, table 2, search spaces 1 and 2, keyed by their number of blocks: the blocks of each stage,
# and the channels of the stem and of the four stages.
DEPTHS = {20: (4, 4, 8, 4), 40: (8, 8, 16, 8)}
CHANNELS = {20: (16, 64, 160, 320, 640), 40: (48, 96, 240, 480, 960)}
# The convolution before the classifier's linear layer, in both search spaces of DetNAS.
HEAD_CHANNELS = 1024
STAGES = ("res2", "res3", "res4", "res5")
OUTPUTS = {name: (name,) for name in (*STAGES, "head")}


class ShuffleNetV2(StagedBody):
    """The body of DetNAS's ShuffleNetV2 (table 2).

    Outputs: ``res2`` to ``res5``, with strides 4, 8, 16 and 32, and ``head``, which only a
    classifier needs.
    """

    outputs = OUTPUTS


@FAMILY_REGISTRY.register("shufflenetv2")
@dataclass(eq=False)
class ShuffleNetV2Family(Family):
    """ShuffleNetV2; only operations vary (DetNAS section 3.2). Reads no key of ``MODEL.RESNETS``.

    Args:
        depth: blocks of the published network, 20 or 40.
        channels: of the stem and of the four stages; empty: those published for ``depth``.
        norm, out_features: as in ``MODEL.SHUFFLENETV2``.
        freeze_at: as in ``MODEL.BACKBONE``.
    """

    stages = STAGES
    operations = (
        Operation("kernel 3", make=partial(ShuffleBlock, kernel_size=3)),
        Operation("kernel 5", make=partial(ShuffleBlock, kernel_size=5)),
        Operation("kernel 7", make=partial(ShuffleBlock, kernel_size=7)),
        Operation("xception", make=XceptionBlock),
    )
    section = "SHUFFLENETV2"

    depth: int = 20
    _: KW_ONLY
    channels: Sequence[int] = ()
    norm: str = "BN"
    out_features: Sequence[str] = STAGES
    freeze_at: int = 0

    def __post_init__(self) -> None:
        check_outputs("MODEL.SHUFFLENETV2.OUT_FEATURES", self.out_features, OUTPUTS)
        self.has_published_channels = not self.channels
        if self.channels:
            _check_channels(self.channels)
        elif self.depth not in CHANNELS:
            raise invalid(
                "MODEL.SHUFFLENETV2.DEPTH",
                self.depth,
                f"a published number of blocks, {' or '.join(map(str, CHANNELS))}",
                fix="Set MODEL.SHUFFLENETV2.CHANNELS for other channels",
            )
        self.channels = tuple(self.channels or CHANNELS[self.depth])

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        return settings_from_config(cls, cfg)

    def baseline_depths(self) -> tuple[int, ...]:
        if self.depth not in DEPTHS:
            raise invalid(
                "MODEL.SHUFFLENETV2.DEPTH",
                self.depth,
                f"a published depth, {' or '.join(map(str, DEPTHS))}",
                fix="Set MODEL.GENOTYPE.DEPTHS for another allocation",
            )
        return DEPTHS[self.depth]

    def check(self, genotype: Genotype) -> None:
        for blocks, published in DEPTHS.items():
            is_other = genotype.depths == published and blocks != self.depth
            if is_other and self.has_published_channels:
                raise ValueError(
                    f"MODEL.GENOTYPE.DEPTHS is {list(published)}, from the search space of "
                    f"{blocks} blocks, but MODEL.SHUFFLENETV2.DEPTH is {self.depth}. Set DEPTH to "
                    f"{blocks} for its channels, {list(CHANNELS[blocks])}, or set CHANNELS."
                )

    def make_stem(self, in_channels: int) -> CNNBlockBase:
        return ConvBlock(in_channels, self.channels[0], stride=2, norm=self.norm)

    def make_stage(self, stage: str, operations: Sequence[Operation]) -> list[CNNBlockBase]:
        index = STAGES.index(stage)
        in_channels, out_channels = self.channels[index : index + 2]
        blocks, stride = [], 2
        for operation in operations:
            assert operation.make is not None, operation
            blocks.append(operation.make(in_channels, out_channels, stride, norm=self.norm))
            in_channels, stride = out_channels, 1
        return blocks

    def make_body(self, stem: CNNBlockBase, stages: Mapping[str, Sequence]) -> ShuffleNetV2:
        stages = dict(stages)
        if "head" in self.out_features:
            in_channels = self.channels[-1]
            stages["head"] = [ConvBlock(in_channels, HEAD_CHANNELS, kernel_size=1, norm=self.norm)]
        return ShuffleNetV2(stem, stages, self.out_features, self.freeze_at)


def _check_channels(channels: Sequence[int]) -> None:
    key = "MODEL.SHUFFLENETV2.CHANNELS"
    widths, stages = list(channels), ", ".join(STAGES)
    if len(widths) != 5 or not all(type(number) is int and number >= 1 for number in widths):
        expected = f"five positive whole numbers, of the stem and of {stages}, e.g. {CHANNELS[20]}"
        raise invalid(key, widths, expected)
    if any(number % 2 for number in widths[1:]):
        raise invalid(
            key,
            widths,
            "even numbers after that of the stem, because a stage splits its channels in half",
        )
    if sorted(set(widths)) != widths:
        raise invalid(
            key,
            widths,
            "numbers each larger than the one before, because the first block of a stage adds "
            "channels to its input",
        )
