import pytest
import toy
from detectron2.modeling import RetinaNet, build_model

from crnas_d2.config import load_config
from crnas_d2.cost import Part, detector_cost, find_body, meta_network, register_heads
from crnas_d2.cost.detector_cost import _HEADS, runnable_size

RCNN = str(toy.ROOT / "configs" / "Base-RCNN-FPN.yaml")
CLASSIFIER = str(toy.ROOT / "configs" / "Base-pretrain.yaml")

# What each detector of the papers is, on top of Base-RCNN-FPN.
MASK = {"MODEL.MASK_ON": True, "MODEL.ROI_MASK_HEAD.NUM_CONV": 4}
CASCADE = {
    "MODEL.ROI_HEADS.NAME": "CascadeROIHeads",
    "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": True,
}
RETINANET = {
    "MODEL.META_ARCHITECTURE": "RetinaNet",
    "MODEL.BACKBONE.NAME": "build_supernet_retinanet_fpn_backbone",
    "MODEL.FPN.IN_FEATURES": ["res3", "res4", "res5"],
}

# A network small enough to count by hand, and its image.
SIZE = (64, 96)
SMALL_BODY = {
    "MODEL.DEVICE": "cpu",
    "MODEL.RESNETS.DEPTH": 18,
    "MODEL.RESNETS.STEM_OUT_CHANNELS": 4,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 4,
    "MODEL.GENOTYPE.DEPTHS": [1, 1, 1, 1],
}
SMALL = {
    **SMALL_BODY,
    "MODEL.FPN.OUT_CHANNELS": 8,
    "MODEL.ROI_HEADS.NUM_CLASSES": 5,
    "MODEL.ROI_BOX_HEAD.FC_DIM": 16,
    "MODEL.RETINANET.NUM_CLASSES": 5,
    "MODEL.RETINANET.NUM_CONVS": 2,
}
SMALL_MASK = {
    "MODEL.MASK_ON": True,
    "MODEL.ROI_MASK_HEAD.NUM_CONV": 2,
    "MODEL.ROI_MASK_HEAD.CONV_DIM": 6,
}
# Pixels of each level: 64x96 divided by 4, 8, 16, 32; P6 takes every second feature of P5, P7 of
# P6.
C2, C3, C4, C5, P6, P7 = 16 * 24, 8 * 12, 4 * 6, 2 * 3, 1 * 2, 1 * 1
BODY = (
    (32 * 48) * (7 * 7 * 3 * 4)
    + C2 * (9 * 4 * 4 + 9 * 4 * 4)
    # Two 3x3 convolutions and the 1x1 of the shortcut.
    + C3 * (9 * 4 * 8 + 9 * 8 * 8 + 4 * 8)
    + C4 * (9 * 8 * 16 + 9 * 16 * 16 + 8 * 16)
    + C5 * (9 * 16 * 32 + 9 * 32 * 32 + 16 * 32)
)
# Lateral 1x1 and output 3x3 per level.
FPN = C2 * (4 * 8 + 9 * 8 * 8) + C3 * (8 * 8 + 9 * 8 * 8)
FPN += C4 * (16 * 8 + 9 * 8 * 8) + C5 * (32 * 8 + 9 * 8 * 8)
# A 3x3 convolution, then 3 anchors with a score and 4 deltas.
RPN = (C2 + C3 + C4 + C5 + P6) * (9 * 8 * 8 + 8 * 3 + 8 * 12)


def config(*overrides, file=RCNN):
    return load_config(file, toy.as_list(*overrides))


# The fully connected layers and the scores of a box head; then deltas of each class or of all.
BOX = 8 * 7 * 7 * 16 + 16 * 16 + 16 * (5 + 1)
FASTER = {"body": BODY, "neck": FPN, "rpn": RPN, "box head": 10 * (BOX + 16 * (5 * 4))}
# Two 3x3 at 14x14; the 2x2 transposed one and the predictor count at 28x28.
MASKS = 14 * 14 * (9 * 8 * 6 + 9 * 6 * 6) + 28 * 28 * (2 * 2 * 6 * 6 + 6 * 5)
LATERALS = C3 * (8 * 8) + C4 * (16 * 8) + C5 * (32 * 8)
NECK = LATERALS + (C3 + C4 + C5 + P7) * (9 * 8 * 8) + P6 * (9 * 32 * 8)
# Two 3x3 in each of the two branches; 3 anchors with 5 scores and 4 deltas.
HEAD = (C3 + C4 + C5 + P6 + P7) * (2 * 2 * (9 * 8 * 8) + 9 * 8 * (3 * 5) + 9 * 8 * (3 * 4))
# Seven 3x3 per stack: three at P4, one at each of the others.
STACK = (C3 + 3 * C4 + C5 + P6 + P7) * (9 * 8 * 8)
NAS_FPN = {"BACKBONE.NAME": "build_supernet_nasfpn_backbone", "NAS_FPN.NUM_STACKS": 3}
BY_HAND = {
    "faster": ({}, FASTER),
    "mask": (SMALL_MASK, {**FASTER, "mask head": 3 * MASKS}),
    # Three box heads that do not tell classes apart.
    "cascade": (CASCADE, {**FASTER, "box head": 3 * 10 * (BOX + 16 * 4)}),
    "retinanet": (RETINANET, {"body": BODY, "neck": NECK, "head": HEAD}),
    "nas-fpn": (
        RETINANET | {f"MODEL.{key}": value for key, value in NAS_FPN.items()},
        {"body": BODY, "neck": LATERALS + 3 * STACK, "head": HEAD},
    ),
}


@pytest.mark.parametrize("detector", BY_HAND)
def test_a_detector_by_hand(detector):
    overrides, expected = BY_HAND[detector]
    regions = {"num_proposals": 10, "num_mask_rois": 3}
    assert toy.detector_macs(config(SMALL, overrides), SIZE, **regions) == expected


def test_a_classifier_by_hand():
    classes = {"MODEL.CLASSIFIER.NUM_CLASSES": 7}
    cfg = config(SMALL_BODY, classes, file=CLASSIFIER)
    assert toy.detector_macs(cfg, SIZE) == {"body": BODY, "classifier": 32 * 7}


@pytest.mark.parametrize(
    "overrides",
    [{}, SMALL_MASK, {**CASCADE, **SMALL_MASK}, RETINANET],
    ids=["faster", "mask", "cascade mask", "retinanet"],
)
def test_the_parts_hold_all_parameters(overrides):
    cfg = config(SMALL, overrides)
    parts = detector_cost(meta_network(cfg), SIZE)
    assert min(cost.parameters for cost in parts.values()) > 0
    whole = sum(parameter.numel() for parameter in build_model(cfg).parameters())
    assert sum(cost.parameters for cost in parts.values()) == whole


BODIES = {
    "MobileNetV2": {"MODEL.SUPERNET.FAMILY": "mobilenetv2"},
    "R18": {"MODEL.RESNETS.DEPTH": 18, "MODEL.RESNETS.RES2_OUT_CHANNELS": 64},
    "R50": {"MODEL.RESNETS.DEPTH": 50},
    "R101": {"MODEL.RESNETS.DEPTH": 101},
}


def gigamacs(body, *overrides):
    return sum(toy.detector_macs(config(BODIES[body], *overrides)).values()) / 1e9


# CR-NAS tables 1 and 3. The papers' figures also hold norms and activations, so ours are lower.
@pytest.mark.parametrize(
    ("body", "overrides", "published", "ours"),
    [
        ("MobileNetV2", {}, 121.1, 120.2),
        ("R18", {}, 147.7, 147.4),
        ("R50", {}, 192.5, 191.8),
        ("R101", {}, 257.3, 256.2),
        ("MobileNetV2", MASK, 189.5, 188.6),
        ("R50", MASK, 261.2, 260.2),
        ("R101", MASK, 325.9, 324.6),
    ],
)
def test_whole_detectors_cost_what_crnas_says(body, overrides, published, ours):
    found = gigamacs(body, overrides)
    assert found == pytest.approx(ours, abs=0.05)
    assert found == pytest.approx(published, rel=0.008)


@pytest.mark.parametrize(
    ("body", "depths"),
    [
        ("MobileNetV2", [1, 1, 2, 2, 3, 4, 4, 1, 1, 1]),
        ("R18", [1, 1, 2, 4]),
        ("R50", [1, 3, 5, 7]),
        ("R101", [2, 3, 17, 11]),
    ],
)
def test_reallocated_detectors_cost_what_their_baseline_costs(body, depths):
    assert gigamacs(body, {"MODEL.GENOTYPE.DEPTHS": depths}) == pytest.approx(
        gigamacs(body), rel=0.003
    )


def test_an_image_is_padded_only_where_the_network_cannot_run():
    detector = meta_network(config(SMALL))
    assert runnable_size(detector, (64, 96)) == (64, 96)
    # 90 pixels make 23, 12, 6 and 3 features, and 2 * 12 are not 23.
    assert runnable_size(detector, (64, 90)) == (64, 96)
    assert detector_cost(detector, (64, 90)) == detector_cost(detector, (64, 96))
    # 93 make 24, 12, 6 and 3.
    assert runnable_size(detector, (64, 93)) == (64, 93)
    body_alone = meta_network(config(SMALL_BODY, file=CLASSIFIER))
    assert find_body(body_alone) is body_alone.backbone
    assert runnable_size(body_alone, (50, 90)) == (50, 90)


def test_a_plug_in_registers_the_heads_of_its_detector(monkeypatch):
    class PluggedIn(RetinaNet):
        pass

    monkeypatch.setitem(_HEADS, PluggedIn, None)  # removed after the test
    detector = meta_network(config(SMALL, RETINANET))
    expected = detector_cost(detector, SIZE)
    detector.__class__ = PluggedIn
    with pytest.raises(ValueError, match=r"makes a PluggedIn, which is not counted"):
        detector_cost(detector, SIZE)

    @register_heads(PluggedIn)
    def heads(model, features, num_proposals, num_mask_rois):
        levels = [features[name] for name in model.head_in_features]
        yield Part("mine", model.head, model.head, (levels,))

    expected["mine"] = expected.pop("head")
    assert detector_cost(detector, SIZE) == expected


def test_a_supernet_has_no_cost():
    with pytest.raises(ValueError, match=r"PATH_SAMPLER to 'fixed' and name its genotype"):
        meta_network(toy.supernet_config())
    fixed = {"MODEL.SUPERNET.PATH_SAMPLER": "fixed", "MODEL.GENOTYPE.DEPTHS": [1, 2, 2, 3]}
    assert toy.detector_macs(toy.supernet_config(fixed), SIZE)["body"] > 0


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"MODEL.META_ARCHITECTURE": "ProposalNetwork"}, "ProposalNetwork.*expected.*RetinaNet"),
        ({"MODEL.PROPOSAL_GENERATOR.NAME": "PrecomputedProposals"}, "PROPOSAL_GENERATOR.*RPN"),
        ({"MODEL.KEYPOINT_ON": True}, "KEYPOINT_ON is True"),
    ],
)
def test_parts_that_are_not_counted_are_named(overrides, message):
    with pytest.raises(ValueError, match=message):
        detector_cost(meta_network(config(SMALL, overrides)), SIZE)
