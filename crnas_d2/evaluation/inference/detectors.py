"""Which detectors have batched inference, and their passes from images to detections."""

from collections.abc import Callable
from typing import Any, cast

import torch
from detectron2.modeling import GeneralizedRCNN, RetinaNet
from detectron2.modeling.backbone import FPN
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.proposal_generator import RPN
from detectron2.modeling.roi_heads import CascadeROIHeads, FastRCNNOutputLayers, StandardROIHeads
from detectron2.structures import Boxes, ImageList, Instances
from torch import Tensor, nn
from torch.nn import functional as F

from .boxes import Detections, Sizes
from .heads import detect, detect_dense, propose

Images = list[dict[str, Any]]  # Detectron2's inputs, or its outputs for them
Predict = Callable[[Images], Images]


def batched_inference(model: nn.Module) -> Predict:
    """Return a function that does what ``model`` does in evaluation mode; or ``model`` itself.

    The function is for detectors of exactly Detectron2's classes: GeneralizedRCNN with its RPN and
    the heads of Faster, Mask, Keypoint or Cascade R-CNN, and RetinaNet. Any other class may have
    changed a part, so it keeps its own code. A batch with values that are not finite goes to
    ``model``, too, which leaves them out.
    """
    transforms = [getattr(part, "box2box_transform", None) for part in model.modules()]
    if any(t is not None and type(t) is not Box2BoxTransform for t in transforms):
        return model
    if type(model) is RetinaNet:
        return _RetinaNet(model)
    if type(model) is not GeneralizedRCNN or type(model.proposal_generator) is not RPN:
        return model
    heads: Any = model.roi_heads
    if type(heads) is StandardROIHeads and type(heads.box_predictor) is FastRCNNOutputLayers:
        return _StandardRCNN(model)
    return _ProposalsFirst(model) if type(heads) is CascadeROIHeads else model


class _Detector:
    """The part that all detectors share: images, features, and detections in their pixels."""

    def __init__(self, model: Any):
        self.model = model

    def _images(self, batch: Images) -> ImageList:
        """Normalize, pad and stack the images."""
        model, images = self.model, [record["image"] for record in batch]
        if len({image.shape for image in images}) > 1:
            return cast(ImageList, model.preprocess_image(batch))
        stacked = torch.stack(images).to(model.device)
        normalized = (stacked - model.pixel_mean) / model.pixel_std
        backbone = model.backbone
        return ImageList.from_tensors(
            list(normalized),
            backbone.size_divisibility,
            padding_constraints=backbone.padding_constraints,
        )

    @staticmethod
    def _outputs(found: Detections, batch: Images, sizes: Sizes) -> Images:
        """Return the detections in the pixels of the files."""
        wanted = [
            (record.get("height", height), record.get("width", width))
            for record, (height, width) in zip(batch, sizes, strict=True)
        ]
        return [{"instances": each} for each in found.resized(sizes, wanted).split(wanted)]


class _RCNN(_Detector):
    """Up to the proposals."""

    def __init__(self, model: Any):
        super().__init__(model)
        heads = model.roi_heads
        self.levels = {*model.proposal_generator.in_features, *heads.box_in_features}
        for part in ("mask", "keypoint"):
            if getattr(heads, f"{part}_on", False):
                self.levels |= set(getattr(heads, f"{part}_in_features"))

    def __call__(self, batch: Images) -> Images:
        images = self._images(batch)
        features = pyramid(self.model.backbone, images.tensor, self.levels)
        proposals = propose(self.model.proposal_generator, features, images.image_sizes)
        found = None if proposals is None else self._found(images, features, proposals, batch)
        return cast(Images, self.model(batch)) if found is None else found

    def _found(
        self, images: ImageList, features: dict[str, Tensor], proposals: list[Tensor], batch: Images
    ) -> Images | None:
        raise NotImplementedError


class _StandardRCNN(_RCNN):
    """Faster, Mask and Keypoint R-CNN; masks and key points are Detectron2's own work."""

    def _found(
        self, images: ImageList, features: dict[str, Tensor], proposals: list[Tensor], batch: Images
    ) -> Images | None:
        heads, sizes = self.model.roi_heads, images.image_sizes
        found = detect(heads, features, proposals, sizes)
        if found is None:
            return None
        if not (heads.mask_on or heads.keypoint_on):
            return self._outputs(found, batch, sizes)
        instances = heads.forward_with_given_boxes(features, found.split(sizes))
        return cast(Images, GeneralizedRCNN._postprocess(instances, batch, sizes))


class _ProposalsFirst(_RCNN):
    """Cascade R-CNN: its proposals alone are batched."""

    def _found(
        self, images: ImageList, features: dict[str, Tensor], proposals: list[Tensor], batch: Images
    ) -> Images | None:
        given = [
            Instances(size, proposal_boxes=Boxes(boxes))
            for size, boxes in zip(images.image_sizes, proposals, strict=True)
        ]
        instances, _ = self.model.roi_heads(images, features, given, None)
        return cast(Images, GeneralizedRCNN._postprocess(instances, batch, images.image_sizes))


class _RetinaNet(_Detector):
    """RetinaNet."""

    def __call__(self, batch: Images) -> Images:
        images = self._images(batch)
        features = self.model.backbone(images.tensor)
        maps = [features[name] for name in self.model.head_in_features]
        found = detect_dense(self.model, maps, images.image_sizes)
        if found is None:
            return cast(Images, self.model(batch))
        return self._outputs(found, batch, images.image_sizes)


def pyramid(backbone: nn.Module, images: Tensor, levels: set[str]) -> dict[str, Tensor]:
    """Return at least these levels; those of an FPN that are not wanted are not computed.

    Levels above the FPN (p6, p7) need all of it.
    """
    if type(backbone) is not FPN or not levels.issubset(names := _levels(backbone)):
        return cast(dict[str, Tensor], backbone(images))
    fpn: Any = backbone
    maps, found, above = fpn.bottom_up(images), {}, None
    convs = zip(fpn.in_features[::-1], fpn.lateral_convs, fpn.output_convs, strict=True)
    for name, (stage, lateral, output) in zip(names[::-1], convs, strict=True):
        level = lateral(maps[stage])
        if above is not None:
            level = level + F.interpolate(above, scale_factor=2.0, mode="nearest")
            level = level / 2 if fpn._fuse_type == "avg" else level
        above = level
        if name in levels:
            found[name] = output(level)
        if len(found) == len(levels):
            break
    return found


def _levels(fpn: FPN) -> list[str]:
    """Return the names of the levels that have a map of the body, the finest first."""
    return list(fpn._out_features[: len(fpn.in_features)])
