"""Families of backbones, registered by name in FAMILY_REGISTRY."""

from .detnet import DetNet, DetNetFamily
from .efficientnet_lite import EfficientNetLite, EfficientNetLiteFamily
from .mobilenetv2 import MobileNetV2, MobileNetV2Family
from .resnet import ResNetFamily
from .shufflenetv2 import ShuffleNetV2, ShuffleNetV2Family

__all__ = [
    "DetNet",
    "DetNetFamily",
    "EfficientNetLite",
    "EfficientNetLiteFamily",
    "MobileNetV2",
    "MobileNetV2Family",
    "ResNetFamily",
    "ShuffleNetV2",
    "ShuffleNetV2Family",
]
