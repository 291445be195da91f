"""ResNet and ResNeXt: what CR-NAS and NATS vary in them."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

from detectron2.config import CfgNode
from detectron2.layers import CNNBlockBase
from detectron2.modeling.backbone.resnet import BasicBlock, BasicStem, BottleneckBlock, ResNet

from crnas_d2.layers import DILATIONS, zero_norm
from crnas_d2.space import FAMILY_REGISTRY, Genotype, Operation, PlainResNet, SearchableConv

from .settings import TORCHVISION_INPUT, SectionFamily, published

# The images of Detectron2's model zoo: ResNets come from MSRA, ResNeXts from Caffe2.
_MSRA = {
    "INPUT.FORMAT": "BGR",
    "MODEL.PIXEL_MEAN": [103.53, 116.28, 123.675],
    "MODEL.PIXEL_STD": [1.0, 1.0, 1.0],
    "MODEL.RESNETS.STRIDE_IN_1X1": True,
}
_STDS = [57.375, 57.12, 58.395]
_CAFFE2 = {**_MSRA, "MODEL.PIXEL_STD": _STDS, "MODEL.RESNETS.STRIDE_IN_1X1": False}
_UP_TO_TEN = tuple(range(1, 11))


@FAMILY_REGISTRY.register("resnet")
@dataclass(eq=False)
class ResNetFamily(SectionFamily):
    """ResNet and, with ``num_groups > 1``, ResNeXt, which has the same space in CR-NAS (A.2).

    A network is a plain Detectron2 ``ResNet`` with the parameter names of Detectron2's model zoo;
    the channel space and its genotypes replace one convolution in some of its blocks.
    """

    stages = ("res2", "res3", "res4", "res5")
    # The paper's sets give 374 allocations of 33 blocks, not 332 as its text says, and lack the 15
    # blocks in res4 of its ResNeXt-101. We follow the sets; STAGE_OPTIONS overrides them.
    stage_options = (
        _UP_TO_TEN,
        _UP_TO_TEN,
        (2, 3, 5, 6, 9, 11, 14, 17, 20, 23),
        (2, 3, 4, 6, 7, 9, 11, 13, 15, 17),
    )
    operations = DILATIONS
    section = "RESNETS"
    published_convention = {**TORCHVISION_INPUT, "MODEL.RESNETS.STRIDE_IN_1X1": False}
    # The published allocations, keyed by the number of layers.
    published_depths: ClassVar[dict[int, tuple[int, ...]]] = {
        18: (2, 2, 2, 2),
        34: (3, 4, 6, 3),
        50: (3, 4, 6, 3),
        101: (3, 4, 23, 3),
        152: (3, 8, 36, 3),
    }

    # As in MODEL.RESNETS. 18 and 34 use BasicBlock, any other depth Bottleneck; the depth also
    # selects the allocation of the baseline.
    depth: int = 50
    _: KW_ONLY
    stem_out_channels: int = 64
    res2_out_channels: int = 256
    num_groups: int = 1
    width_per_group: int = 64
    stride_in_1x1: bool = False

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        if cfg.MODEL.RESNETS.RES5_DILATION != 1 or any(cfg.MODEL.RESNETS.DEFORM_ON_PER_STAGE):
            raise ValueError(
                "MODEL.RESNETS.RES5_DILATION (DC5) and DEFORM_ON_PER_STAGE are not supported. "
                "Reset them for a new training; a detector trained with them cannot be searched."
            )
        return super().from_config(cfg)

    @property
    def has_basic_blocks(self) -> bool:
        return self.depth in (18, 34)

    def baseline_depths(self) -> tuple[int, ...]:
        return published(self.section, self.published_depths, self.depth)

    def make_stem(self, in_channels: int) -> CNNBlockBase:
        return BasicStem(in_channels, self.stem_out_channels, self.norm)

    def make_stage(self, stage: str, operations: Sequence[Operation]) -> list[CNNBlockBase]:
        scale = 2 ** self.stages.index(stage)
        settings: dict[str, Any] = {"block_class": BasicBlock}
        if not self.has_basic_blocks:
            settings = {
                "block_class": BottleneckBlock,
                "bottleneck_channels": self.num_groups * self.width_per_group * scale,
                "num_groups": self.num_groups,
                "stride_in_1x1": self.stride_in_1x1,
            }
        out_channels = self.res2_out_channels * scale
        blocks = ResNet.make_stage(
            num_blocks=len(operations),
            stride_per_block=[2 if scale > 1 else 1] + [1] * (len(operations) - 1),
            in_channels=out_channels // 2 if scale > 1 else self.stem_out_channels,
            out_channels=out_channels,
            norm=self.norm,
            **settings,
        )
        for block, operation in zip(blocks, operations, strict=True):
            operation.change(block)  # type: ignore[misc]
        return blocks

    def make_body(self, stem: CNNBlockBase, stages: Mapping[str, Sequence]) -> ResNet:
        outputs = list(self.out_features)
        blocks = list(stages.values())
        return ResNet(stem, blocks, out_features=outputs, freeze_at=self.freeze_at)

    def searchable_conv(self, stage: str) -> SearchableConv | None:
        """The 3x3 convolution of a Bottleneck, or the first one of a BasicBlock.

        Each is followed by another convolution of the block, which can read its channels in a
        different order. The output of a block has to keep the order of its shortcut.
        """
        scale = 2 ** self.stages.index(stage)
        if self.has_basic_blocks:  # BasicBlock has no groups
            return SearchableConv("conv1", self.res2_out_channels * scale)
        width = self.num_groups * self.width_per_group
        return SearchableConv("conv2", width * scale, self.num_groups)

    def make_identity(self, block: CNNBlockBase) -> bool:
        # The shortcut carries the output of a ReLU, so the block's own ReLU does not change it.
        last = block.conv2 if self.has_basic_blocks else block.conv3
        return block.shortcut is None and zero_norm(last.norm)

    def convention(self) -> dict[str, object]:
        if self.has_basic_blocks:
            return {}
        return {"MODEL.RESNETS.STRIDE_IN_1X1": self.stride_in_1x1}

    def plain_resnet(self, genotype: Genotype) -> PlainResNet | None:
        dilations = {
            f"{stage}.{index}.conv2": op + 1  # the operations are the dilations 1, 2, 3
            for stage, ops in zip(self.stages, genotype.ops_of_stages(), strict=True)
            for index, op in enumerate(ops)
            if op
        }
        is_published = self.published_depths.get(self.depth) == genotype.depths
        # Detectron2 refuses other ResNets of basic blocks.
        fits = not self.has_basic_blocks or (self.res2_out_channels, self.num_groups) == (64, 1)
        return PlainResNet(
            genotype.depths,
            dilations,
            self.has_basic_blocks,
            is_known=is_published and fits and not dilations,
            has_known_depths=genotype.depths in self.published_depths.values(),
        )

    @classmethod
    def converted_convention(
        cls, author: str, weights: Mapping[str, Any]
    ) -> Mapping[str, object] | None:
        if author == "torchvision":
            return cls.published_convention
        if author != "Caffe2":
            return None
        # (out, in / groups, 3, 3)
        shapes = [weight.shape for name, weight in weights.items() if name.endswith("branch2b_w")]
        return _CAFFE2 if any(out != inner for out, inner, *_ in shapes) else _MSRA

    @classmethod
    def published_names(cls, names: Collection[str]) -> dict[str, str] | None:
        """Map torchvision's names, recognized by ``layer1.0.*``, which no Detectron2 network has.

        The new names are those of Detectron2's ``tools/convert-torchvision-to-d2.py``, except that
        the classification layer is ``linear``, as in Detectron2's ResNet.
        """
        if not any(re.match(r"layer[1-4]\.\d+\.", name) for name in names):
            return None
        renamed = {}
        for name in names:
            new = f"stem.{name}" if name.startswith(("conv1.", "bn1.")) else name
            new = re.sub(r"^fc\.", "linear.", new)
            new = re.sub(r"^layer([1-4])\.", lambda match: f"res{int(match[1]) + 1}.", new)
            new = re.sub(r"\bbn(\d)\.", r"conv\1.norm.", new)
            new = new.replace(".downsample.0.", ".shortcut.")
            renamed[name] = new.replace(".downsample.1.", ".shortcut.norm.")
        return renamed
