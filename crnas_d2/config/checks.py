"""Checks that catch a wrong model config before hours of work."""

import os
import traceback
from collections.abc import Iterator

import torch
from detectron2 import modeling
from detectron2.config import CfgNode
from detectron2.modeling.anchor_generator import RotatedAnchorGenerator
from detectron2.modeling.proposal_generator.rpn import RPN_HEAD_REGISTRY
from detectron2.modeling.proposal_generator.rrpn import RRPN
from detectron2.modeling.roi_heads.rotated_fast_rcnn import RROIHeads

from crnas_d2.common.errors import did_you_mean, invalid
from crnas_d2.common.meta_device import on_meta
from crnas_d2.common.registry import register_ours
from crnas_d2.space import Genotype

from .architectures import find_architecture
from .spec import SPEC_BUILDERS, NetworkSpec

_ROTATED = (
    ("ANCHOR_GENERATOR", modeling.ANCHOR_GENERATOR_REGISTRY, RotatedAnchorGenerator),
    ("PROPOSAL_GENERATOR", modeling.PROPOSAL_GENERATOR_REGISTRY, RRPN),
    ("ROI_HEADS", modeling.ROI_HEADS_REGISTRY, RROIHeads),
)
_PACKAGE = os.sep + "crnas_d2" + os.sep


def find_spec(cfg: CfgNode) -> NetworkSpec | None:
    """Return the spec of our backbone; ``None`` if the config uses another backbone."""
    asks_for_ours = cfg.MODEL.SUPERNET.SPACE != "none" or bool(
        Genotype.from_config(cfg.MODEL.GENOTYPE).to_config()
    )
    return NetworkSpec.from_config(cfg) if asks_for_ours or _names_ours(cfg) else None


def check_model(cfg: CfgNode) -> NetworkSpec | None:
    """Check settings of the model that would fail, or mislead, hours later.

    Return the spec of the backbone, see :func:`find_spec`; raise ValueError with the key, its value
    and what to do.
    """
    for key, name, known in _names(cfg):
        if name not in known:
            raise ValueError(
                f"{key} is '{name}', which is not registered.{did_you_mean(name, known)} Known: "
                f"{', '.join(known)}; PLUGINS lists the modules that register others."
            )
    for section, registry, rotated in _ROTATED:
        name = cfg.MODEL[section].NAME
        if name in registry and issubclass(registry.get(name), rotated):
            but = "rotated boxes are not supported"
            raise invalid(f"MODEL.{section}.NAME", name, "one for upright boxes", but=but)
    if cfg.TEST.AUG.ENABLED:
        but = "nothing is tested with augmentation here"
        raise invalid("TEST.AUG.ENABLED", True, but=but, fix="Set it to False")
    device = torch.device(cfg.MODEL.DEVICE)
    but = "it holds no values" if device.type == "meta" else ""
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        but = f"the number of GPUs is {torch.cuda.device_count()}; the first is cuda:0"
    if but:
        raise invalid("MODEL.DEVICE", cfg.MODEL.DEVICE, "cpu or cuda", but=but)
    spec = find_spec(cfg)
    if spec is not None and spec.kind is not None:
        spec.kind.check_config(cfg, spec.space)
    _check_weights(cfg, spec)
    # Others may need more than the meta device has.
    architecture = modeling.META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE).__module__
    if spec is not None or architecture.startswith("detectron2."):
        _try_model(cfg, spec)
    return spec


def _names(cfg: CfgNode) -> Iterator[tuple[str, str, list[str]]]:
    """Yield the names that will be looked up: key, name, and the known ones."""
    model, parts, ours = cfg.MODEL, find_architecture(cfg).parts, _ours()
    proposes, has_heads = "proposals" in parts, "roi heads" in parts
    is_rpn = proposes and model.PROPOSAL_GENERATOR.NAME == "RPN"
    has_masks, has_keypoints = has_heads and model.MASK_ON, has_heads and model.KEYPOINT_ON
    besides = {"PROPOSAL_GENERATOR.NAME": ["PrecomputedProposals"], "ROI_BOX_HEAD.NAME": [""]}
    for key, registry, is_used in (
        ("META_ARCHITECTURE", modeling.META_ARCH_REGISTRY, True),
        ("BACKBONE.NAME", modeling.BACKBONE_REGISTRY, True),
        ("ANCHOR_GENERATOR.NAME", modeling.ANCHOR_GENERATOR_REGISTRY, "anchors" in parts),
        ("PROPOSAL_GENERATOR.NAME", modeling.PROPOSAL_GENERATOR_REGISTRY, proposes),
        ("RPN.HEAD_NAME", RPN_HEAD_REGISTRY, is_rpn),
        ("ROI_HEADS.NAME", modeling.ROI_HEADS_REGISTRY, has_heads),
        ("ROI_BOX_HEAD.NAME", modeling.ROI_BOX_HEAD_REGISTRY, has_heads),
        ("ROI_MASK_HEAD.NAME", modeling.ROI_MASK_HEAD_REGISTRY, has_masks),
        ("ROI_KEYPOINT_HEAD.NAME", modeling.ROI_KEYPOINT_HEAD_REGISTRY, has_keypoints),
        ("SEM_SEG_HEAD.NAME", modeling.SEM_SEG_HEADS_REGISTRY, "segmentation" in parts),
    ):
        if is_used:
            # Ours first, because they are what this project is for.
            names = sorted((name for name, _ in registry), key=lambda n: (n not in ours, n))
            section, _, name = key.rpartition(".")
            value = model[section][name] if section else model[name]
            yield f"MODEL.{key}", value, [*besides.get(key, []), *names]


def _check_weights(cfg: CfgNode, spec: NetworkSpec | None) -> None:
    weights, off = cfg.MODEL.WEIGHTS, "or set MODEL.INHERIT to False"
    if cfg.MODEL.INHERIT and spec is None:
        but = f"MODEL.BACKBONE.NAME is '{cfg.MODEL.BACKBONE.NAME}', whose blocks cannot inherit"
        raise invalid("MODEL.INHERIT", True, but=but, fix=f"Use one of {', '.join(_ours())}, {off}")
    if cfg.MODEL.INHERIT and not weights:
        but, fix = "MODEL.WEIGHTS is empty", f"Name the checkpoint of the base network, {off}"
        raise invalid("MODEL.INHERIT", True, but=but, fix=fix)
    if os.path.isdir(weights):
        raise ValueError(f"MODEL.WEIGHTS {weights} is a folder; name the file of weights in it.")
    if weights and "://" not in weights and not os.path.isfile(weights):
        fix = "Run the training that writes it, or name another file."
        raise ValueError(f"MODEL.WEIGHTS is {weights}, which does not exist. {fix}")


def _try_model(cfg: CfgNode, spec: NetworkSpec | None) -> None:
    """Build the model on the meta device, because builders check their settings."""
    kind = spec.kind if spec is not None else None
    wanted = f"the {kind.name} supernet" if kind is not None else "that genotype"
    other_body = ValueError(
        f"MODEL.BACKBONE.NAME is '{cfg.MODEL.BACKBONE.NAME}', which does not read MODEL.SUPERNET "
        f"and MODEL.GENOTYPE: it cannot build {wanted}. Use one of {', '.join(_ours())}, or set "
        "MODEL.SUPERNET.SPACE to 'none' and the keys of MODEL.GENOTYPE to []."
    )
    is_other = spec is not None and not _names_ours(cfg)
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = "meta"
    try:
        with on_meta():
            network = modeling.build_model(cfg)
    except Exception as error:  # Detectron2's builders raise and assert in many ways
        if is_other:  # among others, limits that ours do not have
            raise other_body from error
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        file = frame.f_code.co_filename
        if isinstance(error, ValueError) and _PACKAGE in file:
            raise
        words = str(error).rstrip(".") or "a check of Detectron2's fails"
        raise ValueError(
            f"The model cannot be built ({type(error).__name__} in {os.path.basename(file)}): "
            f"{words}. Check the keys of MODEL, e.g. names of features and the lengths of lists."
        ) from error
    specs = [getattr(module, "spec", None) for module in network.modules()]
    if is_other and not any(isinstance(spec, NetworkSpec) for spec in specs):
        raise other_body


def _ours() -> list[str]:
    """Return the names of the backbones that build the network of a spec."""
    register_ours()
    return [n for n, builder in modeling.BACKBONE_REGISTRY if builder in SPEC_BUILDERS]


def _names_ours(cfg: CfgNode) -> bool:
    return cfg.MODEL.BACKBONE.NAME in _ours()
