"""DetNet-59, a baseline of DetNAS (table 3): a ResNet-50 whose last stages keep the resolution."""

from collections.abc import Sequence

from detectron2.layers import CNNBlockBase, Conv2d, get_norm
from detectron2.modeling.backbone.resnet import BottleneckBlock, ResNet
from fvcore.nn import weight_init

from crnas_d2.layers import DILATIONS
from crnas_d2.modeling.staged_body import StagedBody
from crnas_d2.space import FAMILY_REGISTRY, Family, Operation

from .resnet import ResNetFamily
from .settings import SectionFamily

_STAGES = ("res2", "res3", "res4", "res5", "res6")


class DetNet(StagedBody):
    """The body of DetNet: outputs ``res2`` to ``res6`` of stride 4, 8, 16, 16, 16."""

    outputs = {name: (name,) for name in _STAGES}


@FAMILY_REGISTRY.register("detnet")
class DetNetFamily(ResNetFamily):
    """DetNet-59 (Li et al., ECCV 2018, section 3.2): there is nothing to search in it.

    Up to res4 it is ResNet-50. res5 and res6 have three bottleneck blocks each, of the width of
    res4 and with dilation 2; the shortcut of the first one is a 1x1 convolution ("bottleneck B").

    Args: those of :class:`ResNetFamily`, with ``res6`` among the outputs.
    """

    body = DetNet
    stages = _STAGES  # type: ignore[assignment]
    stage_options = ()  # type: ignore[assignment]
    operations = DILATIONS[:1]
    published_depths = {50: (3, 4, 6, 3, 3)}

    def make_stage(self, stage: str, operations: Sequence[Operation]) -> list[CNNBlockBase]:
        if stage not in ("res5", "res6"):
            return super().make_stage(stage, operations)
        scale = 2 ** _STAGES.index("res4")
        channels = self.res2_out_channels * scale
        blocks = ResNet.make_stage(
            BottleneckBlock,
            len(operations),
            in_channels=channels,
            out_channels=channels,
            bottleneck_channels=self.num_groups * self.width_per_group * scale,
            num_groups=self.num_groups,
            norm=self.norm,
            stride_in_1x1=self.stride_in_1x1,
            dilation=2,
        )
        norm = get_norm(self.norm, channels)
        blocks[0].shortcut = Conv2d(channels, channels, kernel_size=1, bias=False, norm=norm)
        weight_init.c2_msra_fill(blocks[0].shortcut)
        return blocks

    # What ResNet has and DetNet has not.
    make_body = SectionFamily.make_body
    searchable_conv = Family.searchable_conv
    published_names = Family.published_names
    published_convention = Family.published_convention  # type: ignore[assignment]
    converted_convention = Family.converted_convention
    plain_resnet = Family.plain_resnet
