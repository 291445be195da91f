"""The names in a model config, each looked up in the registry of Detectron2 that holds it."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.modeling import (
    ANCHOR_GENERATOR_REGISTRY,
    BACKBONE_REGISTRY,
    META_ARCH_REGISTRY,
    PROPOSAL_GENERATOR_REGISTRY,
    ROI_BOX_HEAD_REGISTRY,
    ROI_HEADS_REGISTRY,
    ROI_KEYPOINT_HEAD_REGISTRY,
    ROI_MASK_HEAD_REGISTRY,
    SEM_SEG_HEADS_REGISTRY,
)
from detectron2.modeling.proposal_generator.rpn import RPN_HEAD_REGISTRY

from crnas_d2.common.errors import did_you_mean

from .architectures import find_architecture


def check_names(cfg: CfgNode) -> None:
    """Check the names of the parts of a model, and the device.

    Raises:
        ValueError: an unknown name, with the nearest and all known ones.
    """
    for key, name, known in _names(cfg):
        if name not in known:
            raise ValueError(
                f"{key} is '{name}', which is not registered.{did_you_mean(name, known)} Known: "
                f"{', '.join(known)}; PLUGINS lists the modules that register others."
            )
    _check_device(cfg.MODEL.DEVICE)


def _names(cfg: CfgNode) -> Iterator[tuple[str, str, Sequence[str]]]:
    """Yield the names that will be looked up: key, name, and the known ones."""
    model, parts = cfg.MODEL, find_architecture(cfg).parts

    def named(key: str, registry: Any, *besides: str) -> tuple[str, str, Sequence[str]]:
        node = model
        for part in key.split("."):
            node = node[part]
        # Ours first, because they are what this project is for.
        names = sorted((n for n, _ in registry), key=lambda n: (not n.startswith("build_super"), n))
        return f"MODEL.{key}", node, [*besides, *names]

    yield named("META_ARCHITECTURE", META_ARCH_REGISTRY)
    yield named("BACKBONE.NAME", BACKBONE_REGISTRY)
    if "anchors" in parts:
        yield named("ANCHOR_GENERATOR.NAME", ANCHOR_GENERATOR_REGISTRY)
    if "proposals" in parts:
        yield named("PROPOSAL_GENERATOR.NAME", PROPOSAL_GENERATOR_REGISTRY, "PrecomputedProposals")
        if model.PROPOSAL_GENERATOR.NAME == "RPN":
            yield named("RPN.HEAD_NAME", RPN_HEAD_REGISTRY)
    if "roi heads" in parts:
        yield named("ROI_HEADS.NAME", ROI_HEADS_REGISTRY)
        yield named("ROI_BOX_HEAD.NAME", ROI_BOX_HEAD_REGISTRY, "")
        if model.MASK_ON:
            yield named("ROI_MASK_HEAD.NAME", ROI_MASK_HEAD_REGISTRY)
        if model.KEYPOINT_ON:
            yield named("ROI_KEYPOINT_HEAD.NAME", ROI_KEYPOINT_HEAD_REGISTRY)
    if "segmentation" in parts:
        yield named("SEM_SEG_HEAD.NAME", SEM_SEG_HEADS_REGISTRY)


def _check_device(name: str) -> None:
    device = torch.device(name)
    if device.type == "meta":
        raise ValueError("MODEL.DEVICE is 'meta', which holds no values; expected cpu or cuda.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"MODEL.DEVICE is '{name}', but the number of GPUs is {torch.cuda.device_count()}; the "
            "first is cuda:0."
        )
