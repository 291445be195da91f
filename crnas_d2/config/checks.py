"""Checks that catch a wrong model config before hours of work."""

import os
import traceback
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
    build_model,
)
from detectron2.modeling.proposal_generator.rpn import RPN_HEAD_REGISTRY

from crnas_d2.common.errors import did_you_mean, invalid
from crnas_d2.common.registry import register_ours
from crnas_d2.space import Genotype

from .architectures import find_architecture
from .spec import SPEC_BUILDERS, NetworkSpec

_PACKAGE = os.sep + "crnas_d2" + os.sep


def find_spec(cfg: CfgNode) -> NetworkSpec | None:
    """Return the spec of our backbone; ``None`` if the config uses another backbone."""
    asks_for_ours = cfg.MODEL.SUPERNET.SPACE != "none" or bool(
        Genotype.from_config(cfg.MODEL.GENOTYPE).to_config()
    )
    return NetworkSpec.from_config(cfg) if asks_for_ours or _names_ours(cfg) else None


def check_model(cfg: CfgNode) -> NetworkSpec | None:
    """Check settings of the model that would fail, or mislead, hours later.

    Returns:
        the spec of the backbone, see :func:`find_spec`.

    Raises:
        ValueError: naming the key, its value and what to do.
    """
    for key, name, known in _names(cfg):
        if name not in known:
            raise ValueError(
                f"{key} is '{name}', which is not registered.{did_you_mean(name, known)} Known: "
                f"{', '.join(known)}; PLUGINS lists the modules that register others."
            )
    _check_device(cfg.MODEL.DEVICE)
    spec = find_spec(cfg)
    if spec is not None and spec.kind is not None:
        spec.kind.check_config(cfg, spec.space)
    _check_weights(cfg, spec)
    # Others may need more than the meta device has.
    architecture = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE).__module__
    if spec is not None or architecture.startswith("detectron2."):
        _try_model(cfg, spec)
    return spec


def _names(cfg: CfgNode) -> Iterator[tuple[str, str, Sequence[str]]]:
    """Yield the names that will be looked up: key, name, and the known ones."""
    model, parts, ours = cfg.MODEL, find_architecture(cfg).parts, _ours()

    def named(key: str, registry: Any, *besides: str) -> tuple[str, str, Sequence[str]]:
        node = model
        for part in key.split("."):
            node = node[part]
        # Ours first, because they are what this project is for.
        names = sorted((n for n, _ in registry), key=lambda n: (n not in ours, n))
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
        raise invalid("MODEL.DEVICE", name, "cpu or cuda", but="it holds no values")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        but = f"the number of GPUs is {torch.cuda.device_count()}; the first is cuda:0"
        raise invalid("MODEL.DEVICE", name, but=but)


def _check_weights(cfg: CfgNode, spec: NetworkSpec | None) -> None:
    weights = cfg.MODEL.WEIGHTS
    if cfg.MODEL.INHERIT and spec is None:
        raise invalid(
            "MODEL.INHERIT",
            True,
            but=f"MODEL.BACKBONE.NAME is '{cfg.MODEL.BACKBONE.NAME}', whose blocks cannot inherit",
            fix=f"Use one of {', '.join(_ours())}, or set MODEL.INHERIT to False",
        )
    if cfg.MODEL.INHERIT and not weights:
        raise invalid(
            "MODEL.INHERIT",
            True,
            but="MODEL.WEIGHTS is empty",
            fix="Name the checkpoint of the base network, or set MODEL.INHERIT to False",
        )
    if os.path.isdir(weights):
        raise ValueError(f"MODEL.WEIGHTS {weights} is a folder; name the file of weights in it.")
    if weights and "://" not in weights and not os.path.isfile(weights):
        raise ValueError(
            f"MODEL.WEIGHTS is {weights}, which does not exist. Run the training that writes it, "
            "or name another file."
        )


def _try_model(cfg: CfgNode, spec: NetworkSpec | None) -> None:
    """Build the model on the meta device, because builders check their settings."""
    is_other = spec is not None and not _names_ours(cfg)
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = "meta"
    try:
        with torch.device("meta"):
            network = build_model(cfg)
    except Exception as error:  # Detectron2's builders raise and assert in many ways
        if is_other:  # among others, limits that ours do not have
            raise _other_body(cfg, spec) from error
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
        raise _other_body(cfg, spec)


def _ours() -> list[str]:
    """Return the names of the backbones that build the network of a spec."""
    register_ours()
    return [name for name, builder in BACKBONE_REGISTRY if builder in SPEC_BUILDERS]


def _names_ours(cfg: CfgNode) -> bool:
    return cfg.MODEL.BACKBONE.NAME in _ours()


def _other_body(cfg: CfgNode, spec: NetworkSpec | None) -> ValueError:
    kind = spec.kind if spec is not None else None
    wanted = f"the {kind.name} supernet" if kind is not None else "that genotype"
    return ValueError(
        f"MODEL.BACKBONE.NAME is '{cfg.MODEL.BACKBONE.NAME}', which does not read MODEL.SUPERNET "
        f"and MODEL.GENOTYPE: it cannot build {wanted}. Use one of {', '.join(_ours())}, or set "
        "MODEL.SUPERNET.SPACE to 'none' and the keys of MODEL.GENOTYPE to []."
    )
