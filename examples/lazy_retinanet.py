"""A LazyConfig of Detectron2 with a supernet as its backbone; no CfgNode is involved.

RetinaNet on a BasicBlock ResNet whose stages have one to three blocks each. For one network, leave
``kind`` out and give ``genotype=L(Genotype)(depths=[1, 3, 2, 2])``.
"""

from detectron2.config import LazyCall as L
from detectron2.layers import ShapeSpec
from detectron2.modeling import RetinaNet
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.backbone.fpn import FPN, LastLevelP6P7
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.meta_arch.retinanet import RetinaNetHead

from crnas_d2 import build_backbone
from crnas_d2.modeling.families import ResNetFamily
from crnas_d2.modeling.spaces import StageKind

LEVELS = ["p3", "p4", "p5", "p6", "p7"]

model = L(RetinaNet)(
    backbone=L(FPN)(
        bottom_up=L(build_backbone)(
            family=L(ResNetFamily)(
                depth=18,
                stem_out_channels=8,
                res2_out_channels=8,
                out_features=["res3", "res4", "res5"],
            ),
            kind=L(StageKind)(options=[[1, 2, 3]] * 4),
            sharing="prefix",
        ),
        in_features=["res3", "res4", "res5"],
        out_channels=16,
        top_block=L(LastLevelP6P7)(in_channels=16, out_channels=16, in_feature="p5"),
    ),
    head=L(RetinaNetHead)(
        input_shape=[ShapeSpec(channels=16)] * len(LEVELS),
        num_classes=2,
        conv_dims=[16],
        num_anchors=9,
    ),
    anchor_generator=L(DefaultAnchorGenerator)(
        sizes=[[x, x * 2 ** (1 / 3), x * 2 ** (2 / 3)] for x in [8, 16, 32, 64, 128]],
        aspect_ratios=[0.5, 1.0, 2.0],
        strides=[8, 16, 32, 64, 128],
        offset=0.0,
    ),
    box2box_transform=L(Box2BoxTransform)(weights=[1.0, 1.0, 1.0, 1.0]),
    anchor_matcher=L(Matcher)(
        thresholds=[0.4, 0.5], labels=[0, -1, 1], allow_low_quality_matches=True
    ),
    num_classes=2,
    head_in_features=LEVELS,
    pixel_mean=[103.53, 116.28, 123.675],
    pixel_std=[1.0, 1.0, 1.0],
)
