"""Batched inference finds what Detectron2's own code finds, box by box."""

import pytest
import torch
import toy
from detectron2.modeling import META_ARCH_REGISTRY, GeneralizedRCNN, RetinaNet, build_model
from detectron2.modeling.roi_heads import StandardROIHeads

from crnas_d2.evaluation.inference import batched_inference
from crnas_d2.evaluation.inference.detectors import pyramid

CASCADE = {
    "MODEL.ROI_HEADS.NAME": "CascadeROIHeads",
    "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": True,
}
DETECTORS = {
    "faster": {},
    "mask": {"MODEL.MASK_ON": True, "MODEL.ROI_MASK_HEAD.NAME": "MaskRCNNConvUpsampleHead"},
    "keypoint": {"MODEL.KEYPOINT_ON": True, "MODEL.ROI_HEADS.NUM_CLASSES": 1},
    "cascade": CASCADE,
    "retinanet": {
        "MODEL.META_ARCHITECTURE": "RetinaNet",
        "MODEL.BACKBONE.NAME": "build_supernet_retinanet_fpn_backbone",
        "MODEL.RESNETS.OUT_FEATURES": ["res3", "res4", "res5"],
        "MODEL.FPN.IN_FEATURES": ["res3", "res4", "res5"],
        "MODEL.RETINANET.NUM_CLASSES": 2,
    },
}
SETTINGS = [
    {},
    {"MODEL.RPN.PRE_NMS_TOPK_TEST": 7, "MODEL.RPN.POST_NMS_TOPK_TEST": 3},
    {"MODEL.RPN.PRE_NMS_TOPK_TEST": 5000, "MODEL.RPN.POST_NMS_TOPK_TEST": 5000},
    {"MODEL.RPN.NMS_THRESH": 0.2, "MODEL.ROI_HEADS.NMS_THRESH_TEST": 0.9},
    {"TEST.DETECTIONS_PER_IMAGE": 4},
    {"MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.5},
    {"MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": True, "MODEL.FPN.FUSE_TYPE": "avg"},
    {"MODEL.PROPOSAL_GENERATOR.MIN_SIZE": 30},
    {"MODEL.RPN.IN_FEATURES": ["p3", "p4"], "MODEL.ROI_HEADS.IN_FEATURES": ["p3"]},
    {"MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE": True},
]
RETINANET_SETTINGS = [
    {},
    {"MODEL.RETINANET.TOPK_CANDIDATES_TEST": 9},
    {"MODEL.RETINANET.SCORE_THRESH_TEST": 0.6},
    {"MODEL.RETINANET.NMS_THRESH_TEST": 0.1},
    {"MODEL.RETINANET.NUM_CLASSES": 1, "TEST.DETECTIONS_PER_IMAGE": 4},
]


def build(*settings):
    torch.manual_seed(0)
    low = {"MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.0, "MODEL.RETINANET.SCORE_THRESH_TEST": 0.0}
    anchors = {}
    wanted = {key: value for one in settings for key, value in one.items()}
    if levels := wanted.get("MODEL.RPN.IN_FEATURES"):
        anchors = {"MODEL.ANCHOR_GENERATOR.SIZES": [[16], [40]][: len(levels)]}
    model = build_model(toy.network_config(low, wanted, anchors)).eval()
    with torch.no_grad():  # spread scores and boxes of random weights
        for part in model.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.momentum = None  # statistics of the images below
        model.backbone.train()
        model.backbone(255 * torch.rand(4, 3, 64, 64) - 120)
        model.eval()
        for name, parameter in model.named_parameters():
            if "cls_score" in name or "objectness" in name:
                parameter.normal_(std=0.1 if name.startswith("head.") else 0.3)
            elif "_subnet" in name and parameter.ndim == 4:  # RetinaNet's are made very small
                torch.nn.init.kaiming_normal_(parameter)
            if "bbox_pred" in name or "anchor_deltas" in name:
                parameter.normal_(std=0.02)
    return model


def images(*sizes, height=None, width=None):
    generator = torch.Generator().manual_seed(1)
    return [
        {
            "image": torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator),
            "height": height or 2 * size[0],
            "width": width or size[1] + 7,
        }
        for size in sizes
    ]


def compare(model, batch):
    """Compare all fields of all images; return how many detections there are."""
    predict, number = batched_inference(model), 0
    assert predict is not model
    with torch.inference_mode():
        for ours, theirs in zip(predict(batch), model(batch), strict=True):
            ours, theirs = ours["instances"], theirs["instances"]
            assert ours.image_size == theirs.image_size
            assert set(ours.get_fields()) == set(theirs.get_fields())
            assert len(ours) == len(theirs)
            number += len(ours)
            assert torch.equal(ours.pred_classes, theirs.pred_classes)
            torch.testing.assert_close(ours.scores, theirs.scores, atol=1e-6, rtol=0)
            boxes = ours.pred_boxes.tensor, theirs.pred_boxes.tensor
            torch.testing.assert_close(*boxes, atol=1e-4, rtol=0)
            for name in ("pred_masks", "pred_keypoints"):
                if ours.has(name):
                    torch.testing.assert_close(ours.get(name), theirs.get(name))
    return number


def named(settings):
    return ",".join(key.removeprefix("MODEL.") for key in settings)


@pytest.mark.parametrize("settings", SETTINGS, ids=named)
def test_settings_of_a_detector_of_two_stages(settings):
    assert compare(build(settings), images((64, 64), (64, 64), (64, 64))) > 3


@pytest.mark.parametrize("settings", RETINANET_SETTINGS, ids=named)
def test_settings_of_retinanet(settings):
    model = build(DETECTORS["retinanet"], settings)
    assert compare(model, images((64, 64), (64, 64), (64, 64))) > 3


@pytest.mark.parametrize("detector", DETECTORS)
def test_images_of_different_sizes(detector):
    model = build(DETECTORS[detector])
    assert compare(model, images((64, 80), (50, 64), (33, 90))) > 3
    assert compare(model, images((64, 80))) > 1
    small = images((64, 64), (64, 64), height=1, width=2)  # boxes that become empty
    compare(model, small)


def test_images_without_any_detection():
    model = build({"MODEL.ROI_HEADS.SCORE_THRESH_TEST": 1.0})
    model.roi_heads.box_predictor.test_score_thresh = 2.0
    assert compare(model, images((64, 64), (64, 64))) == 0
    model = build({"MODEL.PROPOSAL_GENERATOR.MIN_SIZE": 10_000})  # no proposal
    assert compare(model, images((64, 64), (64, 64))) == 0


def test_values_that_are_not_finite_are_left_to_the_model():
    model, batch = build(), images((64, 64), (64, 64))
    with torch.no_grad():
        model.proposal_generator.rpn_head.anchor_deltas.bias[0] = float("nan")
    compare(model, batch)
    model = build(DETECTORS["retinanet"])
    with torch.no_grad():
        model.head.bbox_pred.bias[0] = float("nan")
    with pytest.raises(AssertionError, match="infinite or NaN"), torch.inference_mode():
        batched_inference(model)(batch)


def test_only_levels_that_are_read_are_computed():
    model = build({"MODEL.RPN.IN_FEATURES": ["p3"], "MODEL.ROI_HEADS.IN_FEATURES": ["p3"]})
    tensor = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        expected, found = model.backbone(tensor), pyramid(model.backbone, tensor, {"p3"})
        assert set(found) == {"p3"} and torch.equal(found["p3"], expected["p3"])
        assert set(pyramid(model.backbone, tensor, {"p6", "p3"})) == set(expected)


class OwnHeads(StandardROIHeads):
    pass


class OwnDetector(GeneralizedRCNN):
    pass


class OwnRetinaNet(RetinaNet):
    pass


def test_any_other_class_keeps_its_own_code():
    for part, own in ((None, OwnDetector), ("roi_heads", OwnHeads)):
        model = build()
        (model if part is None else getattr(model, part)).__class__ = own
        assert batched_inference(model) is model
    model = build(DETECTORS["retinanet"])
    model.__class__ = OwnRetinaNet
    assert batched_inference(model) is model
    assert OwnDetector.__name__ not in META_ARCH_REGISTRY


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("detector", DETECTORS)
def test_on_a_gpu(detector):
    assert compare(build(DETECTORS[detector]).cuda(), images((64, 80), (50, 64))) > 2
