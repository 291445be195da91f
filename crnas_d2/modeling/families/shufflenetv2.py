"""ShuffleNetV2 (Ma et al., ECCV 2018): what DetNAS varies in it."""

from collections.abc import Mapping, Sequence
from functools import partial

from detectron2.layers import CNNBlockBase

from crnas_d2.layers import ConvBlock, ShuffleBlock, XceptionBlock, resolve_norm
from crnas_d2.modeling.staged_body import StagedBody, check_outputs
from crnas_d2.space import FAMILY_REGISTRY, Family, Genotype, Operation

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

    def __init__(
        self,
        depth: int = 20,
        *,
        channels: Sequence[int] = (),
        norm: str = "BN",
        out_features: Sequence[str] = STAGES,
        freeze_at: int = 0,
    ):
        check_outputs("MODEL.SHUFFLENETV2.OUT_FEATURES", out_features, OUTPUTS)
        if channels:
            _check_channels(channels)
        elif depth not in CHANNELS:
            raise ValueError(
                f"MODEL.SHUFFLENETV2.DEPTH is {depth}; published channels: those of "
                f"{', '.join(map(str, CHANNELS))} blocks. Set MODEL.SHUFFLENETV2.CHANNELS for "
                "others."
            )
        self.depth = depth
        self.has_published_channels = not channels
        self.channels = tuple(channels or CHANNELS[depth])
        self.norm = norm
        self.out_features = tuple(out_features)
        self.freeze_at = freeze_at

    @classmethod
    def from_config(cls, cfg) -> dict:
        shufflenet = cfg.MODEL.SHUFFLENETV2
        return {
            "depth": shufflenet.DEPTH,
            "channels": shufflenet.CHANNELS,
            "norm": resolve_norm(shufflenet.NORM, cfg.MODEL.DEVICE),
            "out_features": shufflenet.OUT_FEATURES,
            "freeze_at": cfg.MODEL.BACKBONE.FREEZE_AT,
        }

    def baseline_depths(self) -> tuple[int, ...]:
        if self.depth not in DEPTHS:
            raise ValueError(
                f"MODEL.SHUFFLENETV2.DEPTH is {self.depth}; published depths: "
                f"{', '.join(map(str, DEPTHS))}. Set MODEL.GENOTYPE.DEPTHS for another allocation."
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
    if len(channels) != 5 or not all(type(number) is int and number >= 1 for number in channels):
        raise ValueError(
            f"{key} is {list(channels)}; expected five positive whole numbers, of the stem and of "
            f"{', '.join(STAGES)}, e.g. {list(CHANNELS[20])}."
        )
    if any(number % 2 for number in channels[1:]):
        raise ValueError(
            f"{key} is {list(channels)}; the channels of a stage are split in half, so every "
            "number after the first (the stem's) must be even."
        )
    if sorted(set(channels)) != list(channels):
        raise ValueError(
            f"{key} is {list(channels)}; the first block of a stage adds channels to its input, so "
            "every number must be larger than the one before."
        )
