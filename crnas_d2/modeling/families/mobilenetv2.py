"""MobileNetV2 (Sandler et al., CVPR 2018): what CR-NAS varies in it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from detectron2.layers import CNNBlockBase
from detectron2.modeling import Backbone
from torch import nn

from crnas_d2.common.errors import invalid
from crnas_d2.layers import DILATIONS, ConvBlock, InvertedResidual, zero_norm
from crnas_d2.modeling.staged_body import StagedBody
from crnas_d2.space import FAMILY_REGISTRY, Operation

from . import settings

STEM_CHANNELS, TAIL_CHANNELS = 32, 1280
# Table 2 of the paper: by stage, the expansion of its blocks, their output channels, and the
# stride of the first block.
STAGES = {
    "c16": (1, 16, 1),
    "c24": (6, 24, 2),
    "c32": (6, 32, 2),
    "c64": (6, 64, 2),
    "c96": (6, 96, 1),
    "c160": (6, 160, 2),
    "c320": (6, 320, 1),
}


class MobileNetV2(StagedBody):
    """The body of MobileNetV2, its 1x1 convolution to 1280 channels included.

    Outputs, of full width: ``res2`` (24 channels, stride 4), ``res3`` (32, 8), ``res4`` (96, 16)
    and ``res5`` (1280, 32), the ends of the stages ``c24``, ``c32``, ``c96`` and ``tail``.
    """

    outputs = {
        "res2": ("c16", "c24"),
        "res3": ("c32",),
        "res4": ("c64", "c96"),
        "res5": ("c160", "c320", "tail"),
    }


@FAMILY_REGISTRY.register("mobilenetv2")
@dataclass(eq=False)
class MobileNetV2Family(settings.SectionFamily):
    """MobileNetV2 with all layers that CR-NAS (A.2) counts; reads no key of ``MODEL.RESNETS``.

    Its stages are the stem, seven stages of inverted residual blocks named after their channels,
    and the two layers of the tail, the last of which is the classifier's. CR-NAS varies five of
    the stages, whose blocks differ in cost.
    """

    body = MobileNetV2
    stages = ("stem", *STAGES, "tail", "classifier")
    stage_options = (
        *[(1,)] * 2,  # stem, c16
        *[(1, 2, 3, 4, 5)] * 2,  # c24, c32
        (3, 4, 5, 6, 7),
        *[(2, 3, 4, 5, 6)] * 2,  # c96, c160
        *[(1,)] * 3,  # c320, tail, classifier
    )
    block_costs = (0.0, 0.0, 1.5, 1.0, 1.0, 0.75, 1.25, 0.0, 0.0, 0.0)
    operations = DILATIONS
    single_layers = frozenset({"stem", "tail", "classifier"})
    section = "MOBILENETV2"
    published_convention = settings.TORCHVISION_INPUT
    published_depths = (1, 1, 2, 3, 4, 3, 3, 1, 1, 1)

    width_mult: float = 1.0  # of all channels, which are rounded to multiples of 8

    def __post_init__(self) -> None:
        if self.width_mult <= 0:
            expected = "a positive factor, 1.0 for the published channels"
            raise invalid("MODEL.MOBILENETV2.WIDTH_MULT", self.width_mult, expected)
        super().__post_init__()

    def baseline_depths(self) -> tuple[int, ...]:
        return self.published_depths

    def make_stem(self, in_channels: int) -> CNNBlockBase:
        channels = self._channels(STEM_CHANNELS)
        return ConvBlock(in_channels, channels, stride=2, norm=self.norm, activation=nn.ReLU6)

    def make_stage(self, stage: str, operations: Sequence[Operation]) -> list[CNNBlockBase]:
        widths = [STEM_CHANNELS, *(channels for _, channels, _ in STAGES.values())]
        in_channels = self._channels(widths[list(STAGES).index(stage)])
        expansion, channels, stride = STAGES[stage]
        out_channels = self._channels(channels)
        blocks = [
            InvertedResidual(*shape, expansion, self.norm)
            for shape in settings.block_shapes(len(operations), in_channels, out_channels, stride)
        ]
        for block, operation in zip(blocks, operations, strict=True):
            operation.change(block)  # type: ignore[misc]
        return blocks

    def make_body(self, stem: CNNBlockBase, stages: Mapping[str, Sequence]) -> Backbone:
        in_channels = stages["c320"][-1].out_channels
        # The last convolution is not narrowed (section 4 of the paper).
        channels = settings.rounded_channels(TAIL_CHANNELS * max(1.0, self.width_mult))
        tail = ConvBlock(in_channels, channels, 1, norm=self.norm, activation=nn.ReLU6)
        return super().make_body(stem, {**stages, "tail": [tail]})

    def make_identity(self, block: CNNBlockBase) -> bool:
        return block.is_residual and zero_norm(block.conv3.norm)

    def _channels(self, channels: int) -> int:
        return settings.rounded_channels(channels * self.width_mult)

    @classmethod
    def published_names(cls, names: Collection[str]) -> dict[str, str] | None:
        """Map torchvision's names, recognized by ``features.1.conv.0.0`` and ``features.18.0``.

        The index 18 of its last convolution implies the published allocation.
        """
        if not set(names) >= {"features.1.conv.0.0.weight", "features.18.0.weight"}:
            return None
        stages = zip(cls.stages, cls.published_depths, strict=True)
        places = [(stage, index) for stage, depth in stages for index in range(depth)]
        layers = {"classifier.1": "linear"}
        for number, (stage, index) in enumerate(places[:-1]):  # the last one is the classifier
            theirs, ours = f"features.{number}", f"{stage}.{index}"
            if stage in cls.single_layers:
                ours = "stem" if stage == "stem" else ours  # a single block, not a sequence
                layers |= {f"{theirs}.0": f"{ours}.conv1", f"{theirs}.1": f"{ours}.conv1.norm"}
                continue
            # Torchvision nests each convolution with its norm, except the last of a block. The
            # first block has no expansion.
            pairs = ["conv2"] if stage == "c16" else ["conv1", "conv2"]
            for pair, conv in enumerate(pairs):
                layers[f"{theirs}.conv.{pair}.0"] = f"{ours}.{conv}"
                layers[f"{theirs}.conv.{pair}.1"] = f"{ours}.{conv}.norm"
            layers[f"{theirs}.conv.{len(pairs)}"] = f"{ours}.conv3"
            layers[f"{theirs}.conv.{len(pairs) + 1}"] = f"{ours}.conv3.norm"
        return settings.rename_layers(names, layers)
