"""Image classification, which pretrains a backbone for detection."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.layers import CNNBlockBase
from detectron2.modeling import META_ARCH_REGISTRY, Backbone, build_backbone
from detectron2.modeling.backbone.resnet import BasicBlock, BottleneckBlock
from detectron2.structures import ImageList
from torch import nn

from crnas_d2.layers import ChoiceBlock, zero_norm


@META_ARCH_REGISTRY.register()
class ImageClassifier(nn.Module):
    """A backbone with a single output, global average pooling and one linear layer.

    The body's parameters are named ``backbone.*``; in a detector with a neck they are
    ``backbone.bottom_up.*``.

    Args:
        zero_init_residual: start with residual blocks that are the identity (Goyal et al. 2017,
            section 5.1): those of a ResNet, and of any family with ``make_identity``.
        label_smoothing: fraction of the target that is spread evenly over all classes (Szegedy et
            al. 2016, section 7).
        pixel_mean, pixel_std: per channel, in the order and range of the images.

    Raises:
        ValueError: the backbone has several outputs, e.g. because of a neck; or no residual blocks
            with ``zero_init_residual``.
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        num_classes: int,
        label_smoothing: float,
        zero_init_residual: bool,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
    ):
        super().__init__()
        shapes = backbone.output_shape()
        if len(shapes) != 1:
            raise ValueError(
                f"ImageClassifier pools the one output of a body; this backbone has {len(shapes)}: "
                f"{', '.join(shapes)}. Set MODEL.BACKBONE.NAME to a body without neck "
                "(build_supernet_backbone) and its OUT_FEATURES to the last stage ([res5])."
            )
        [(self.in_feature, shape)] = shapes.items()
        self.backbone = backbone
        self.label_smoothing = label_smoothing
        if zero_init_residual and not _zero_residuals(backbone):
            raise ValueError(
                "MODEL.CLASSIFIER.ZERO_INIT_RESIDUAL is True, but the body has no residual block "
                "that may start as the identity. Set it to False."
            )
        self.linear = nn.Linear(shape.channels, num_classes)
        # Goyal et al. 2017, section 5.1; as in Detectron2's ResNet.
        nn.init.normal_(self.linear.weight, std=0.01)
        nn.init.zeros_(self.linear.bias)
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), False)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        model = cfg.MODEL
        pixels = {"pixel_mean": model.PIXEL_MEAN, "pixel_std": model.PIXEL_STD}
        settings = {key.lower(): value for key, value in model.CLASSIFIER.items()}
        return {"backbone": build_backbone(cfg), **settings, **pixels}

    @property
    def device(self) -> torch.device:
        return self.linear.weight.device

    def forward(self, batched_inputs: list[dict]) -> dict[str, torch.Tensor] | list[dict]:
        """Return in training ``{"loss_cls": scalar}``, else per image its probabilities.

        Those are ``{"scores": (num_classes,)}``. An image is a dict of ``image``, (C, H, W) in the
        range of ``pixel_mean``, and in training ``label``, the index of its class.
        """
        features = self.backbone(self.preprocess_image(batched_inputs).tensor)[self.in_feature]
        # (N, C, H', W') to (N, C) to (N, num_classes)
        logits = self.linear(features.mean(dim=(2, 3)))
        if not self.training:
            return [{"scores": scores} for scores in logits.float().softmax(dim=1)]
        labels = torch.tensor([image["label"] for image in batched_inputs], device=self.device)
        loss = F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        return {"loss_cls": loss}

    def preprocess_image(self, batched_inputs: list[dict]) -> ImageList:
        """Normalize, pad and batch the images, as Detectron2's detectors do."""
        images = [image["image"].to(self.device) for image in batched_inputs]
        images = [(image - self.pixel_mean) / self.pixel_std for image in images]
        return ImageList.from_tensors(images, self.backbone.size_divisibility)


def _zero_residuals(backbone: Backbone) -> bool:
    """Make residual blocks the identity but for their shortcuts; return whether there are any."""
    spec: Any = getattr(backbone, "spec", None)
    # Of another family: it knows its blocks, which are those of the stages.
    stages = () if spec is None else set(spec.family.stages) - spec.family.single_layers
    found = False
    for name, block in backbone.named_modules():
        if isinstance(block, (BasicBlock, BottleneckBlock)):
            last = block.conv3 if isinstance(block, BottleneckBlock) else block.conv2
            found |= zero_norm(last.norm)
        elif isinstance(block, CNNBlockBase) and not isinstance(block, ChoiceBlock):
            found |= name.split(".")[0] in stages and spec.family.make_identity(block)
    return found
