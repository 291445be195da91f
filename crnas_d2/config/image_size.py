"""The image size as a choice of a search: what it adds to a space, and what it sets in a config."""

from typing import Any

from detectron2.config import CfgNode

from crnas_d2.space import SearchSpace

from .entries import nested, set_entries
from .spec import NetworkSpec


def search_space(cfg: CfgNode, spec: NetworkSpec) -> SearchSpace:
    """Return the space that a search explores: that of a supernet, and ``SEARCH.IMAGE_SIZES``."""
    assert isinstance(spec.space, SearchSpace), spec
    return spec.space.with_image_sizes(cfg.SEARCH.IMAGE_SIZES)


def image_settings(cfg: CfgNode, size: int) -> dict[str, object]:
    """Return the settings, by key, with which a network sees its images at another size.

    Longest side, training sizes, anchors and the size for costs change by the same factor as
    ``INPUT.MIN_SIZE_TEST``, so that an object meets the same anchors as before.
    """
    inputs, anchors = cfg.INPUT, cfg.MODEL.ANCHOR_GENERATOR.SIZES
    factor = size / inputs.MIN_SIZE_TEST
    if factor != 1:  # else they stay as they are written
        anchors = [[round(side * factor, 2) for side in sides] for sides in anchors]
    return {
        "INPUT.MIN_SIZE_TEST": size,
        "INPUT.MAX_SIZE_TEST": round(inputs.MAX_SIZE_TEST * factor),
        "INPUT.MIN_SIZE_TRAIN": [round(side * factor) for side in inputs.MIN_SIZE_TRAIN],
        "INPUT.MAX_SIZE_TRAIN": round(inputs.MAX_SIZE_TRAIN * factor),
        "MODEL.ANCHOR_GENERATOR.SIZES": [list(sides) for sides in anchors],
        "SEARCH.COST_INPUT_SIZE": [round(side * factor) for side in cfg.SEARCH.COST_INPUT_SIZE],
    }


def image_sections(cfg: CfgNode, size: tuple[int, ...]) -> dict[str, Any]:
    """Return the sections of ``genotype.yaml`` that set ``Genotype.image_size``, if it has one."""
    return nested(image_settings(cfg, *size)) if size else {}


def at_image_size(cfg: CfgNode, size: int) -> CfgNode:
    """Return the config of a network with images of another size, see :func:`image_settings`."""
    settings = image_settings(cfg, size)
    cfg = cfg.clone()
    cfg.defrost()
    set_entries(cfg, nested(settings))
    cfg.MODEL.GENOTYPE.IMAGE_SIZE = [size]
    return cfg
