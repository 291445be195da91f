"""ShuffleNetV2 (Ma et al., ECCV 2018): what DetNAS varies in it."""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import partial

from detectron2.layers import CNNBlockBase
from detectron2.modeling import Backbone

from crnas_d2.common.errors import invalid
from crnas_d2.layers import ConvBlock, ShuffleBlock, XceptionBlock
from crnas_d2.modeling.staged_body import StagedBody
from crnas_d2.space import FAMILY_REGISTRY, Genotype, Operation

from .settings import SectionFamily, block_shapes, published

# DetNAS, table 2, search spaces 1 and 2, keyed by their number of blocks: the blocks of each stage,
# and the channels of the stem and of the four stages.
DEPTHS = {20: (4, 4, 8, 4), 40: (8, 8, 16, 8)}
CHANNELS = {20: (16, 64, 160, 320, 640), 40: (48, 96, 240, 480, 960)}
# The convolution before the classifier's linear layer, in both search spaces of DetNAS.
HEAD_CHANNELS = 1024
STAGES = ("res2", "res3", "res4", "res5")


class ShuffleNetV2(StagedBody):
    """The body of DetNAS's ShuffleNetV2 (table 2).

    Outputs: ``res2`` to ``res5``, with strides 4, 8, 16 and 32, and ``head``, which only a
    classifier needs.
    """

    outputs = {name: (name,) for name in (*STAGES, "head")}


@FAMILY_REGISTRY.register("shufflenetv2")
@dataclass(eq=False)
class ShuffleNetV2Family(SectionFamily):
    """ShuffleNetV2; only operations vary (DetNAS section 3.2). Reads no ``MODEL.RESNETS``."""

    body = ShuffleNetV2
    stages = STAGES
    operations = (
        *(Operation(f"kernel {k}", make=partial(ShuffleBlock, kernel_size=k)) for k in (3, 5, 7)),
        Operation("xception", make=XceptionBlock),
    )
    section = "SHUFFLENETV2"

    depth: int = 20  # blocks of the published network, 20 or 40
    _: KW_ONLY
    channels: Sequence[int] = ()  # of the stem and the four stages; empty: those of depth

    def __post_init__(self) -> None:
        super().__post_init__()
        key = "MODEL.SHUFFLENETV2.CHANNELS"
        self.has_published_channels = not self.channels
        if self.has_published_channels:
            fix = f"Set {key} for other channels"
            self.channels = published(self.section, CHANNELS, self.depth, "number of blocks", fix)
        widths = list(self.channels)
        if len(widths) != 5 or not all(type(number) is int and number >= 1 for number in widths):
            of = f"of the stem and of {', '.join(STAGES)}, e.g. {CHANNELS[20]}"
            raise invalid(key, widths, f"five positive whole numbers, {of}")
        if any(number % 2 for number in widths[1:]):
            why = "because a stage splits its channels in half"
            raise invalid(key, widths, f"even numbers after that of the stem, {why}")
        if sorted(set(widths)) != widths:
            why = "because the first block of a stage adds channels to its input"
            raise invalid(key, widths, f"numbers each larger than the one before, {why}")
        self.channels = tuple(widths)

    def baseline_depths(self) -> tuple[int, ...]:
        return published(self.section, DEPTHS, self.depth)

    def check(self, genotype: Genotype) -> None:
        for blocks, depths in DEPTHS.items():
            is_other = genotype.depths == depths and blocks != self.depth
            if is_other and self.has_published_channels:
                raise ValueError(
                    f"MODEL.GENOTYPE.DEPTHS is {list(depths)}, from the search space of {blocks} "
                    f"blocks, but MODEL.SHUFFLENETV2.DEPTH is {self.depth}. Set DEPTH to {blocks} "
                    f"for its channels, {list(CHANNELS[blocks])}, or set CHANNELS."
                )

    def make_stem(self, in_channels: int) -> CNNBlockBase:
        return ConvBlock(in_channels, self.channels[0], stride=2, norm=self.norm)

    def make_stage(self, stage: str, operations: Sequence[Operation]) -> list[CNNBlockBase]:
        index = STAGES.index(stage)
        in_channels, out_channels = self.channels[index : index + 2]
        shapes = block_shapes(len(operations), in_channels, out_channels, 2)
        return [
            operation.make(*shape, norm=self.norm)  # type: ignore[misc]
            for operation, shape in zip(operations, shapes, strict=True)
        ]

    def make_body(self, stem: CNNBlockBase, stages: Mapping[str, Sequence]) -> Backbone:
        if "head" in self.out_features:
            head = ConvBlock(self.channels[-1], HEAD_CHANNELS, kernel_size=1, norm=self.norm)
            stages = {**stages, "head": [head]}
        return super().make_body(stem, stages)
