"""From feature maps to boxes: RPN, the box head of Fast R-CNN, and RetinaNet.

What each returns is what Detectron2's loops over images and levels return: candidates are chosen by
score first, and only those are decoded.
"""

from typing import Any, cast

import torch
from detectron2.structures import Boxes
from torch import Tensor

from .boxes import Detections, Sizes, clip, nonempty, suppress


def propose(rpn: Any, features: dict[str, Tensor], sizes: Sizes) -> list[Tensor] | None:
    """Return the proposals of each image, (P, 4), the best first; ``None`` if any is not finite."""
    maps = [features[name] for name in rpn.in_features]
    anchors = [boxes.tensor for boxes in rpn.anchor_generator(maps)]
    scores, boxes, levels = [], [], []
    for number, (logits, deltas, cells) in enumerate(
        zip(*rpn.rpn_head(maps), anchors, strict=True)
    ):
        flat = logits.permute(0, 2, 3, 1).flatten(1)  # (N, HWA)
        best, index = flat.topk(min(flat.shape[1], rpn.pre_nms_topk[False]), dim=1)
        scores.append(best)
        boxes.append(_decoded(rpn, deltas, cells, index))
        levels.append(torch.full_like(index, number))
    score, box, level = (torch.cat(parts, dim=1) for parts in (scores, boxes, levels))
    if not bool(torch.isfinite(box).all() & torch.isfinite(score).all()):
        return None
    each = score.shape[1]
    counts = torch.full((len(sizes),), each, device=box.device)
    box = clip(box.flatten(0, 1), sizes, counts)
    keep = nonempty(box, rpn.min_box_size)
    score, level, numbers = score.flatten(), level.flatten(), [each] * len(sizes)
    if not bool(keep.all()):
        numbers = keep.view(len(sizes), each).sum(dim=1).tolist()
        box, score, level = box[keep], score[keep], level[keep]
    most = rpn.post_nms_topk[False]
    kept, numbers = suppress(box, score, level, numbers, rpn.nms_thresh, most)
    return list(box[kept].split(numbers))


def detect(
    heads: Any, features: dict[str, Tensor], proposals: list[Tensor], sizes: Sizes
) -> Detections | None:
    """Return what the box head finds in the proposals; ``None`` if anything is not finite."""
    predictor, maps = heads.box_predictor, [features[name] for name in heads.box_in_features]
    pooled = heads.box_pooler(maps, [Boxes(boxes) for boxes in proposals])
    logits, deltas = predictor(heads.box_head(pooled))
    scores = logits.sigmoid() if predictor.use_sigmoid_ce else logits.softmax(dim=-1)
    if not bool(torch.isfinite(scores).all() & torch.isfinite(deltas).all()):
        return None
    rows, classes = (scores[:, :-1] > predictor.test_score_thresh).nonzero(as_tuple=True)
    chosen = deltas.view(len(deltas), deltas.shape[1] // 4, 4)  # (P, classes or 1, 4)
    chosen = chosen[rows, classes if chosen.shape[1] > 1 else torch.zeros_like(classes)]
    numbers = torch.tensor([len(boxes) for boxes in proposals], device=rows.device)
    image = torch.arange(len(sizes), device=rows.device).repeat_interleave(numbers)[rows]
    counts = torch.bincount(image, minlength=len(sizes))
    boxes = predictor.box2box_transform.apply_deltas(chosen, torch.cat(proposals)[rows])
    boxes, score = clip(boxes, sizes, counts), scores[rows, classes]
    threshold, most = predictor.test_nms_thresh, predictor.test_topk_per_image
    kept, each = suppress(boxes, score, classes, counts.tolist(), threshold, most)
    return Detections(boxes[kept], score[kept], classes[kept], each)


def detect_dense(model: Any, maps: list[Tensor], sizes: Sizes) -> Detections | None:
    """Return what RetinaNet finds; ``None`` if anything is not finite."""
    anchors = [boxes.tensor for boxes in model.anchor_generator(maps)]
    scores, boxes, classes = [], [], []
    for logits, deltas, cells in zip(*model.head(maps), anchors, strict=True):
        flat = _rows(logits, model.num_classes).flatten(1)  # (N, HWA * classes)
        best, index = flat.topk(min(flat.shape[1], model.test_topk_candidates), dim=1)
        scores.append(best.sigmoid())
        boxes.append(_decoded(model, deltas, cells, index // model.num_classes))
        classes.append(index % model.num_classes)
    score, box, class_ = (torch.cat(parts, dim=1) for parts in (scores, boxes, classes))
    if not bool(torch.isfinite(box).all() & torch.isfinite(score).all()):
        return None
    keep = score > model.test_score_thresh
    counts = keep.sum(dim=1).tolist()
    box, score, class_ = box[keep], score[keep], class_[keep]
    most = model.max_detections_per_image
    kept, each = suppress(box, score, class_, counts, model.test_nms_thresh, most)
    return Detections(box[kept], score[kept], class_[kept], each)


def _rows(values: Tensor, size: int) -> Tensor:
    """Turn a map, (N, A * size, H, W), into rows, (N, HWA, size)."""
    number, _, height, width = values.shape
    return values.view(number, -1, size, height, width).permute(0, 3, 4, 1, 2).flatten(1, -2)


def _decoded(model: Any, deltas: Tensor, anchors: Tensor, index: Tensor) -> Tensor:
    """Return the boxes of the anchors at (N, K) indices, (N, K, 4), from a map of deltas."""
    images = torch.arange(len(deltas), device=deltas.device)[:, None]
    chosen = _rows(deltas, 4)[images, index].flatten(0, 1)
    boxes = model.box2box_transform.apply_deltas(chosen, anchors[index].flatten(0, 1))
    return cast(Tensor, boxes.view(*index.shape, 4))
