"""The cost of a whole detector or classifier, part by part."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.modeling import Backbone, GeneralizedRCNN, RetinaNet, build_model
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.proposal_generator import RPN
from detectron2.modeling.roi_heads import CascadeROIHeads, StandardROIHeads
from torch import nn

from crnas_d2.common.errors import invalid
from crnas_d2.common.meta_device import on_meta, without_norms
from crnas_d2.modeling import ImageClassifier, find_supernet

from .counting import NetworkCost, count_macs, count_parameters


@dataclass(frozen=True)
class Part:
    """A part of a detector that can run by itself; the stages of a cascade have one name."""

    name: str
    module: nn.Module  # whose parameters it has
    run: Callable[..., Any]  # its forward pass
    inputs: tuple[Any, ...]


def meta_model(cfg: CfgNode) -> nn.Module:
    """Build the network or supernet of ``cfg`` on the meta device: shapes without values."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = "meta"
    with on_meta():
        return build_model(cfg)


def meta_network(cfg: CfgNode) -> nn.Module:
    """Build the network of ``cfg`` on the meta device; raise ValueError if it is a supernet."""
    model = meta_model(cfg).eval()
    if find_supernet(model) is not None:
        space, sampler = cfg.MODEL.SUPERNET.SPACE, cfg.MODEL.SUPERNET.PATH_SAMPLER
        but = f"PATH_SAMPLER '{sampler}' builds every network of a space"
        fix = (
            "Set MODEL.SUPERNET.PATH_SAMPLER to 'fixed' and name its genotype, with a "
            "genotype.yaml in _BASE_ or in MODEL.GENOTYPE"
        )
        raise invalid("MODEL.SUPERNET.SPACE", space, "one network", but=but, fix=fix)
    return model


def find_body(model: Any) -> Backbone:
    """Return the backbone without its neck."""
    return getattr(model.backbone, "bottom_up", model.backbone)


def runnable_size(model: Any, input_size: tuple[int, int]) -> tuple[int, int]:
    """Return ``input_size``, padded as the detector pads its images if it cannot run otherwise.

    The neck adds maps of different strides, hence multiples of ``size_divisibility``. Many other
    sizes happen to run as well, and are not padded.
    """
    step = model.backbone.size_divisibility
    if step > 1 and not any(side % step for side in input_size):
        return input_size
    try:
        with torch.no_grad(), without_norms():
            model.backbone(_image(model, input_size))
    except RuntimeError:  # maps of different sizes
        if step <= 1:
            raise
        height, width = (math.ceil(side / step) * step for side in input_size)
        input_size = height, width
    return input_size


def detector_cost(
    model: Any,
    input_size: tuple[int, int] = (800, 1088),
    num_proposals: int = 2000,
    num_mask_rois: int = 100,
) -> dict[str, NetworkCost]:
    """Return the cost of each part of a network for one image, without ROIAlign.

    Parts are in the order in which they run: ``body``, ``neck``, then ``rpn``, ``box head`` and
    ``mask head``, or the ``head`` of a RetinaNet, or the ``classifier``.

    CR-NAS (tables 1 and 3) counts 800x1088 pixels and, as its figures imply, 2000 proposals, 100
    masks, and each weight of a transposed convolution at every output pixel. So does this function,
    although the 2x2 convolution with stride 2 in a mask head computes a quarter of that.

    Args:
        model: of :func:`meta_network`.
        input_size: (height, width) of the image, pixels; see :func:`runnable_size`.
        num_proposals: regions of the box head, in each stage of a cascade.
        num_mask_rois: regions of the mask head.

    Raises ValueError if the network has parts that are not counted.
    """
    image = _image(model, runnable_size(model, input_size))
    body = find_body(model)
    with torch.no_grad():
        features: dict[str, torch.Tensor] = {}
        backbone = _cost(model.backbone, lambda: features.update(model.backbone(image)))
        costs = {"body": _cost(body, body, image)}
        if body is not model.backbone:
            costs["neck"] = backbone - costs["body"]
        for part in detector_heads(model, features, num_proposals, num_mask_rois):
            before = costs.get(part.name, NetworkCost(0, 0))
            costs[part.name] = before + _cost(part.module, part.run, *part.inputs)
    return costs


Heads = Callable[[Any, dict[str, torch.Tensor], int, int], Iterator[Part]]
_HEADS: dict[type, Heads] = {}


def register_heads(model: type) -> Callable[[Heads], Heads]:
    """Return a decorator for the function that runs the heads of a meta-architecture.

    The door for the cost of a plug-in's detector. The function gets the model, the features of the
    backbone (meta tensors by name), and the numbers of proposals and of mask regions of all images
    of a batch, and yields each part that runs after the backbone, in order. It is that of this
    class only, because a subclass may have more parts, as PanopticFPN has.
    """

    def decorate(heads: Heads) -> Heads:
        _HEADS[model] = heads
        return heads

    return decorate


def detector_heads(
    model: nn.Module, features: dict[str, torch.Tensor], num_proposals: int, num_mask_rois: int
) -> Iterator[Part]:
    """Yield the parts that run after the backbone; raise ValueError if they are not known."""
    heads = _HEADS.get(type(model))
    if heads is None:
        raise _unknown("MODEL.META_ARCHITECTURE", model, *_HEADS)
    yield from heads(model, features, num_proposals, num_mask_rois)


@register_heads(GeneralizedRCNN)
def _rcnn_heads(
    model: Any, features: dict[str, torch.Tensor], num_proposals: int, num_mask_rois: int
) -> Iterator[Part]:
    rpn, heads = model.proposal_generator, model.roi_heads
    if not isinstance(rpn, RPN):
        raise _unknown("MODEL.PROPOSAL_GENERATOR.NAME", rpn, RPN)
    if not isinstance(heads, StandardROIHeads):
        raise _unknown("MODEL.ROI_HEADS.NAME", heads, StandardROIHeads, CascadeROIHeads)
    if heads.keypoint_on:
        raise ValueError("MODEL.KEYPOINT_ON is True; keypoint heads are not counted.")
    channels = features[heads.box_in_features[0]].shape[1]

    def regions(count: int, pooler: ROIPooler) -> torch.Tensor:
        """Return ROIAlign's output for a head, (count, C, height, width)."""
        size = (count, channels, *pooler.output_size)
        return torch.empty(size, device="meta", requires_grad=torch.is_grad_enabled())

    yield Part("rpn", rpn.rpn_head, rpn.rpn_head, ([features[name] for name in rpn.in_features],))
    stages = [(heads.box_head, heads.box_predictor)]
    if isinstance(heads, CascadeROIHeads):
        stages = list(zip(*stages[0], strict=True))
    for stage in stages:
        head = nn.Sequential(*stage)
        yield Part("box head", head, head, (regions(num_proposals, heads.box_pooler),))
    if heads.mask_on:
        head = heads.mask_head
        # Not its forward(), which also selects masks by class, and so needs predicted instances.
        yield Part("mask head", head, head.layers, (regions(num_mask_rois, heads.mask_pooler),))


@register_heads(RetinaNet)
def _retinanet_head(model: Any, features: dict[str, torch.Tensor], *_: int) -> Iterator[Part]:
    levels = [features[name] for name in model.head_in_features]
    yield Part("head", model.head, model.head, (levels,))


@register_heads(ImageClassifier)
def _linear_head(model: Any, features: dict[str, torch.Tensor], *_: int) -> Iterator[Part]:
    # Global average pooling: (N, C, H, W) to (N, C).
    pooled = features[model.in_feature].mean(dim=(2, 3))
    yield Part("classifier", model.linear, model.linear, (pooled,))


def _image(model: Any, size: tuple[int, int]) -> torch.Tensor:
    return torch.empty(1, len(model.pixel_mean), *size, device="meta")


def _cost(module: nn.Module, run: Callable[..., Any], *inputs: Any) -> NetworkCost:
    def macs(image: torch.Size, weight: torch.Size, *_: Any, out_shape: Any, **__: Any) -> int:
        # Every weight at every output pixel. PyTorch's own formula takes the height and width of
        # the input for a transposed convolution.
        return image[0] * math.prod(weight) * math.prod(out_shape[2:])

    counted = count_macs(run, *inputs, formulas={torch.ops.aten.convolution: macs})
    return NetworkCost(counted, count_parameters(module))


def _unknown(key: str, module: nn.Module, *known: type) -> ValueError:
    expected = f"expected one of {', '.join(kind.__name__ for kind in known)}."
    return ValueError(f"{key} makes a {type(module).__name__}, which is not counted; {expected}")
