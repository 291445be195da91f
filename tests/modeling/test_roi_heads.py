import pytest
import torch
import toy
from detectron2.modeling import build_model
from detectron2.structures import Boxes

from crnas_d2.engine import load_config
from crnas_d2.modeling import ScaledROIHeads

SCALED = {"MODEL.ROI_HEADS.NAME": "ScaledROIHeads"}


def pooled_levels(model, sides):
    """The pyramid level, 2 to 5, from which a box of each side is pooled."""
    pooler = model.roi_heads.box_pooler
    seen = {}
    for level, part in enumerate(pooler.level_poolers, start=2):
        part.register_forward_hook(
            lambda _, inputs, __, level=level: seen.update(
                {round(float(box[3] - box[1])): level for box in inputs[1]}
            )
        )
    features = [torch.zeros(1, 16, 192 // 2**level, 192 // 2**level) for level in range(2, 6)]
    pooler(features, [Boxes(torch.tensor([[0.0, 0.0, side, side] for side in sides]))])
    return [seen[side] for side in sides]


@pytest.mark.parametrize(
    ("size", "levels"),
    [(64, [2, 2, 3, 4, 5, 5]), (224, [2, 2, 2, 2, 3, 3]), (16, [4, 4, 5, 5, 5, 5])],
)
def test_the_size_says_from_which_level_a_box_is_pooled(size, levels):
    cfg = toy.network_config(SCALED, {"MODEL.ROI_BOX_HEAD.CANONICAL_BOX_SIZE": size})
    model = build_model(cfg)
    assert isinstance(model.roi_heads, ScaledROIHeads)
    assert pooled_levels(model, [16, 31, 32, 64, 128, 185]) == levels


def test_the_default_size_is_that_of_detectron2():
    default = load_config("", []).MODEL.ROI_BOX_HEAD.CANONICAL_BOX_SIZE
    size = {"MODEL.ROI_BOX_HEAD.CANONICAL_BOX_SIZE": default}
    ours = build_model(toy.network_config(SCALED, size))
    theirs = build_model(toy.network_config({"MODEL.ROI_HEADS.NAME": "StandardROIHeads"}))
    sides = [16, 32, 64, 111, 112, 185]
    assert pooled_levels(ours, sides) == pooled_levels(theirs, sides)


def test_the_masks_of_a_detector_are_pooled_as_before():
    cfg = toy.network_config(
        SCALED, {"MODEL.MASK_ON": True, "MODEL.ROI_BOX_HEAD.CANONICAL_BOX_SIZE": 64}
    )
    heads = build_model(cfg).roi_heads
    assert heads.box_pooler.canonical_box_size == 64
    assert heads.mask_pooler.canonical_box_size == 224
