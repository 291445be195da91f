"""A family like VGG: stages of 3x3 convolutions, each of which may be dilated."""

from functools import partial

from detectron2.config import CfgNode

from crnas_d2 import FAMILY_REGISTRY
from crnas_d2.layers import ConvBlock
from crnas_d2.modeling import StagedBody
from crnas_d2.space import Family, Operation

STAGES = ("res2", "res3", "res4", "res5")


def add_config(cfg):
    cfg.MODEL.VGG = CfgNode({"WIDTH": 64, "NORM": "BN"})


def dilate(block, dilation):
    block.conv1.dilation = block.conv1.padding = (dilation, dilation)


class VGGBody(StagedBody):
    outputs = {stage: (stage,) for stage in STAGES}


@FAMILY_REGISTRY.register("vgg")
class VGG(Family):
    stages = STAGES
    stage_options = ((1, 2, 3), (1, 2, 3), (1, 2, 3, 4), (1, 2, 3, 4))
    operations = tuple(Operation(f"dilation {d}", partial(dilate, dilation=d)) for d in (1, 2, 3))
    section = "VGG"

    def __init__(self, width=64, norm="BN", freeze_at=0):
        self.width, self.norm, self.freeze_at = width, norm, freeze_at

    @classmethod
    def from_config(cls, cfg):
        vgg = cfg.MODEL.VGG
        return {"width": vgg.WIDTH, "norm": vgg.NORM, "freeze_at": cfg.MODEL.BACKBONE.FREEZE_AT}

    def baseline_depths(self):
        return (2, 2, 3, 3)

    def make_stem(self, in_channels):
        return ConvBlock(in_channels, self.width, stride=2, norm=self.norm)

    def make_stage(self, stage, operations):
        channels, blocks = self.width * 2 ** STAGES.index(stage), []
        for index, operation in enumerate(operations):
            in_channels = channels if index or stage == "res2" else channels // 2
            block = ConvBlock(in_channels, channels, stride=1 if index else 2, norm=self.norm)
            operation.change(block)
            blocks.append(block)
        return blocks

    def make_body(self, stem, stages):
        return VGGBody(stem, stages, STAGES, self.freeze_at)
