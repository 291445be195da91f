"""Anchors of other sizes in a detector that is built."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from detectron2.config import CfgNode
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from torch import nn


@contextmanager
def anchors_of(model: nn.Module, cfg: CfgNode) -> Iterator[None]:
    """Give a detector the anchors of another config within this context.

    Sizes, aspect ratios and offset are those of ``MODEL.ANCHOR_GENERATOR``, strides are the
    model's own.
    """
    modules: list[Any] = list(model.modules())
    heads = [module for module in modules if hasattr(module, "anchor_generator")]
    before = [head.anchor_generator for head in heads]
    for head, own in zip(heads, before, strict=True):
        assert type(own) is DefaultAnchorGenerator, own
        head.anchor_generator = _generator(cfg, own.strides).to(next(own.buffers()).device)
    try:
        yield
    finally:
        for head, own in zip(heads, before, strict=True):
            head.anchor_generator = own


def _generator(cfg: CfgNode, strides: Sequence[int]) -> DefaultAnchorGenerator:
    anchors = cfg.MODEL.ANCHOR_GENERATOR
    return DefaultAnchorGenerator(
        sizes=anchors.SIZES,
        aspect_ratios=anchors.ASPECT_RATIOS,
        strides=list(strides),
        offset=anchors.OFFSET,
    )
