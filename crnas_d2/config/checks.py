"""Checks that catch a wrong model config before hours of work."""

import os
import traceback

import torch
from detectron2.config import CfgNode
from detectron2.modeling import META_ARCH_REGISTRY, build_model
from torch import nn

from crnas_d2.space import Genotype

from .names import check_names
from .spec import NetworkSpec

_PACKAGE = os.sep + "crnas_d2" + os.sep
_OURS = (
    "build_supernet_backbone, build_supernet_fpn_backbone, build_supernet_retinanet_fpn_backbone, "
    "build_supernet_nasfpn_backbone and build_supernet_same_stride_fpn_backbone"
)


def find_spec(cfg: CfgNode) -> NetworkSpec | None:
    """Return the spec of our backbone; ``None`` if the config uses another backbone."""
    asks_for_ours = cfg.MODEL.SUPERNET.SPACE != "none" or _has_genotype(cfg)
    return NetworkSpec.from_config(cfg) if _names_ours(cfg) or asks_for_ours else None


def check_model(cfg: CfgNode) -> NetworkSpec | None:
    """Check settings of the model that would fail, or mislead, hours later.

    Returns:
        the spec of the backbone, see :func:`find_spec`.

    Raises:
        ValueError: naming the key, its value and what to do.
    """
    check_names(cfg)
    spec = find_spec(cfg)
    if spec is not None and spec.kind is not None:
        spec.kind.check_config(cfg, spec.space)
    _check_weights(cfg, spec)
    # Others may need more than the meta device has.
    architecture = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE).__module__
    if spec is not None or architecture.startswith("detectron2."):
        _try_model(cfg, spec)
    return spec


def _check_weights(cfg: CfgNode, spec: NetworkSpec | None) -> None:
    weights = cfg.MODEL.WEIGHTS
    if cfg.MODEL.INHERIT and spec is None:
        raise ValueError(
            f"MODEL.INHERIT is True, but MODEL.BACKBONE.NAME is '{cfg.MODEL.BACKBONE.NAME}', whose "
            f"blocks cannot inherit. Use one of {_OURS}, or set MODEL.INHERIT to False."
        )
    if cfg.MODEL.INHERIT and not weights:
        raise ValueError(
            "MODEL.INHERIT is True, but MODEL.WEIGHTS is empty: name the checkpoint of the base "
            "network, or set MODEL.INHERIT to False."
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
    name, ours = cfg.MODEL.BACKBONE.NAME, _names_ours(cfg)
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = "meta"
    try:
        with torch.device("meta"):
            network = build_model(cfg)
    except Exception as error:  # Detectron2's builders raise and assert in many ways
        if spec is not None and not ours:  # among others, limits that ours do not have
            raise ValueError(_explain_other_body(name, spec)) from error
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        file = frame.f_code.co_filename
        if isinstance(error, ValueError) and _PACKAGE in file:
            raise
        words = str(error).rstrip(".") or "a check of Detectron2's fails"
        raise ValueError(
            f"The model cannot be built ({type(error).__name__} in {os.path.basename(file)}): "
            f"{words}. Check the keys of MODEL, e.g. names of features and the lengths of lists."
        ) from error
    if spec is not None and not ours and not _is_ours(network):
        raise ValueError(_explain_other_body(name, spec))


def _names_ours(cfg: CfgNode) -> bool:
    return cfg.MODEL.BACKBONE.NAME.startswith("build_supernet")


def _has_genotype(cfg: CfgNode) -> bool:
    return bool(Genotype.from_config(cfg.MODEL.GENOTYPE).to_config())


def _is_ours(network: nn.Module) -> bool:
    return any(
        isinstance(getattr(module, "spec", None), NetworkSpec) for module in network.modules()
    )


def _explain_other_body(name: str, spec: NetworkSpec) -> str:
    wanted = f"the {spec.kind.name} supernet" if spec.kind is not None else "that genotype"
    return (
        f"MODEL.BACKBONE.NAME is '{name}', which does not read MODEL.SUPERNET and MODEL.GENOTYPE: "
        f"it cannot build {wanted}. Use one of {_OURS}, or set MODEL.SUPERNET.SPACE to "
        "'none' and the keys of MODEL.GENOTYPE to []."
    )
