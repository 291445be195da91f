"""Weights say how they were trained, and a config that differs is told so."""

import json
import logging

import pytest
import torch
import toy
import weight_files
from detectron2.modeling import build_model

from crnas_d2.checkpoint import StrictCheckpointer, TrainingCheckpointer, describe_network
from crnas_d2.checkpoint.convention import differences, overrides
from crnas_d2.checkpoint.files import write_weights
from crnas_d2.space import Genotype

BOTTLENECK = {**toy.RESNETS["bottleneck"], "MODEL.GENOTYPE.DEPTHS": list(weight_files.PUBLISHED)}
TORCHVISION = {
    "INPUT.FORMAT": "RGB",
    "MODEL.PIXEL_MEAN": [123.675, 116.28, 103.53],
    "MODEL.PIXEL_STD": [58.395, 57.12, 57.375],
}
MSRA = {
    "INPUT.FORMAT": "BGR",
    "MODEL.PIXEL_MEAN": [103.53, 116.28, 123.675],
    "MODEL.PIXEL_STD": [1.0, 1.0, 1.0],
}


def config(*settings):
    return toy.network_config(BOTTLENECK, *settings)


def warnings_of(cfg, file, caplog, **keywords):
    caplog.clear()
    checkpointer = TrainingCheckpointer(build_model(cfg), network=describe_network(cfg), **keywords)
    with caplog.at_level(logging.INFO, logger="crnas_d2"):
        checkpointer.load(file)
    return [r.message for r in caplog.records if "other settings" in r.message]


@pytest.mark.parametrize(
    ("formats", "right", "stride"),
    [
        (("torchvision.pth", "torchvision-ddp.pth"), TORCHVISION, False),
        (("torchvision-converted.pkl", "torchvision-converted.pth"), TORCHVISION, False),
        (("caffe2.pkl", "detectron1.pkl"), MSRA, True),
    ],
)
def test_published_weights_have_a_convention(formats, right, stride, tmp_path, caplog):
    body = weight_files.published_body(toy.RESNETS["bottleneck"])
    wrong = MSRA if right is TORCHVISION else TORCHVISION
    right = {**right, "MODEL.RESNETS.STRIDE_IN_1X1": stride}
    for name in formats:
        file = weight_files.write(tmp_path, name, body)
        assert warnings_of(config(right), file, caplog) == []
        other = config(wrong, {"MODEL.RESNETS.STRIDE_IN_1X1": not stride})
        [message] = warnings_of(other, file, caplog)
        shown = [f"INPUT.FORMAT {right['INPUT.FORMAT']}", f"STRIDE_IN_1X1 {stride}"]
        assert all(words in message for words in shown)
        assert f'MODEL.PIXEL_STD "{right["MODEL.PIXEL_STD"]}"' in message
        # The overrides of the message are those that are needed.
        overrides = message.split("add the overrides ")[1].replace('"', "").replace(", ", ",")
        other.merge_from_list(overrides.split())
        assert warnings_of(other, file, caplog) == []


def test_resnext_of_caffe2_has_another_one(tmp_path, caplog):
    body = weight_files.published_body(toy.RESNETS["resnext"])
    file = weight_files.write(tmp_path, "caffe2.pkl", body)
    own = {**MSRA, "MODEL.PIXEL_STD": [57.375, 57.12, 58.395]}
    cfg = config(toy.RESNETS["resnext"], own, {"MODEL.RESNETS.STRIDE_IN_1X1": False})
    assert warnings_of(cfg, file, caplog) == []
    cfg.MODEL.PIXEL_STD = [1.0, 1.0, 1.0]
    assert len(warnings_of(cfg, file, caplog)) == 1


def test_basic_blocks_have_no_stride_to_place(tmp_path, caplog):
    file = weight_files.write(tmp_path, "torchvision.pth", weight_files.published_body())
    depths = {"MODEL.GENOTYPE.DEPTHS": list(weight_files.PUBLISHED)}
    cfg = toy.network_config(depths, TORCHVISION, {"MODEL.RESNETS.STRIDE_IN_1X1": True})
    assert warnings_of(cfg, file, caplog) == []


def load_strictly(cfg, file):
    StrictCheckpointer(build_model(cfg), network=describe_network(cfg)).load(file)


def saved(cfg, file):
    model = build_model(cfg)
    write_weights({"model": model.state_dict(), "network": describe_network(cfg)}, file)
    return str(file)


@pytest.mark.parametrize(
    "change",
    [
        {"INPUT.FORMAT": "RGB"},
        {"MODEL.PIXEL_MEAN": [1.0, 2.0, 3.0]},
        {"MODEL.PIXEL_STD": [4.0, 5.0, 6.0]},
        {"MODEL.RESNETS.STRIDE_IN_1X1": True},
        {"MODEL.GENOTYPE.OPS": [0, 1, 0, 0, 2, 0, 0, 0]},
    ],
)
def test_an_evaluation_with_other_settings_is_refused(change, tmp_path, caplog):
    cfg, other = config(MSRA), config(MSRA, change)
    cfg.MODEL.RESNETS.STRIDE_IN_1X1 = False
    other.MODEL.RESNETS.STRIDE_IN_1X1 = change.get("MODEL.RESNETS.STRIDE_IN_1X1", False)
    for here, there in ((cfg, other), (other, cfg)):
        file = saved(here, tmp_path / "model.pth")
        [key] = change
        with pytest.raises(ValueError, match=rf"would be wrong\. Add the overrides {key} "):
            load_strictly(there, file)
        assert key in warnings_of(there, file, caplog)[0]
        load_strictly(here, file)


PYRAMID = ["p2", "p3"]
FASTER = {
    "MODEL.META_ARCHITECTURE": "GeneralizedRCNN",
    "MODEL.BACKBONE.NAME": "build_supernet_fpn_backbone",
    "MODEL.RESNETS.OUT_FEATURES": ["res2", "res3", "res4", "res5"],
    "MODEL.FPN.IN_FEATURES": ["res2", "res3", "res4", "res5"],
    "MODEL.RPN.IN_FEATURES": [*PYRAMID, "p4"],
    "MODEL.ROI_HEADS.NAME": "StandardROIHeads",
    "MODEL.ROI_HEADS.IN_FEATURES": PYRAMID,
    "MODEL.ROI_BOX_HEAD.NAME": "FastRCNNConvFCHead",
    "MODEL.MASK_ON": True,
}
RETINANET = {
    **FASTER,
    "MODEL.META_ARCHITECTURE": "RetinaNet",
    "MODEL.BACKBONE.NAME": "build_supernet_retinanet_fpn_backbone",
    "MODEL.RETINANET.IN_FEATURES": ["p3", "p4"],
}
CASCADE = {**FASTER, "MODEL.ROI_HEADS.NAME": "CascadeROIHeads"}


@pytest.mark.parametrize(
    ("base", "key", "value"),
    [
        (FASTER, "MODEL.ANCHOR_GENERATOR.SIZES", [[8, 16, 32, 64, 128]]),
        (FASTER, "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS", [[0.25, 1.0, 4.0]]),
        (FASTER, "MODEL.ANCHOR_GENERATOR.OFFSET", 0.5),
        (FASTER, "MODEL.RPN.BBOX_REG_WEIGHTS", (2.0, 2.0, 1.0, 1.0)),
        (FASTER, "MODEL.RPN.IN_FEATURES", PYRAMID),
        (FASTER, "MODEL.ROI_HEADS.IN_FEATURES", [*PYRAMID, "p4"]),
        (FASTER, "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS", (5.0, 5.0, 2.0, 2.0)),
        (FASTER, "MODEL.ROI_BOX_HEAD.POOLER_TYPE", "ROIAlign"),
        (FASTER, "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO", 2),
        (FASTER, "MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION", 7),
        (FASTER, "MODEL.FPN.FUSE_TYPE", "avg"),
        (CASCADE, "MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS", ((10.0, 10.0, 5.0, 5.0),) * 3),
        (RETINANET, "MODEL.RETINANET.BBOX_REG_WEIGHTS", (10.0, 10.0, 5.0, 5.0)),
        (RETINANET, "MODEL.RETINANET.IN_FEATURES", ["p3", "p4", "p5"]),
        (RETINANET, "MODEL.ANCHOR_GENERATOR.OFFSET", 0.5),
    ],
)
def test_settings_of_neck_and_heads_count_as_well(base, key, value):
    own, other = config(base), config(base, {key: value})
    # As a checkpoint has it, also that of a training that is resumed.
    file = json.loads(json.dumps(describe_network(other)))
    for same_training in (False, True):
        found = differences(file, describe_network(own), same_training=same_training)
        assert list(found) == [key]
    assert differences(file, describe_network(other)) == {}
    own.merge_from_list([word.strip('"') for word in overrides(found).split(" ", 1)])
    assert differences(file, describe_network(own)) == {}


def test_the_same_anchors_may_be_written_in_two_ways():
    key = "MODEL.ANCHOR_GENERATOR.SIZES"
    sizes = ([[32, 64]], [[32, 64], [32, 64]])
    one, each = (describe_network(config(FASTER, {key: value})) for value in sizes)
    assert differences(one, each) == {}


def test_what_a_network_may_start_from_warns_of_nothing(tmp_path, caplog):
    file = saved(config(), tmp_path / "model.pth")
    load_strictly(config({"MODEL.GENOTYPE.OPS": [0] * 8}), file)  # no operations are the first ones
    deeper = config({"MODEL.GENOTYPE.DEPTHS": [2, 2, 2, 3]})
    dilated = config({"MODEL.GENOTYPE.OPS": [0, 1, 0, 0, 2, 0, 0, 0]})
    assert warnings_of(deeper, file, caplog) == []
    assert warnings_of(dilated, file, caplog, inherit=True) == []


def test_constants_in_old_files_of_detectron2_count(tmp_path):
    cfg = config(MSRA)
    model = build_model(cfg)
    constants = {"pixel_mean": model.pixel_mean, "pixel_std": torch.full((3, 1, 1), 58.0)}
    torch.save({"model": {**model.state_dict(), **constants}}, tmp_path / "old.pth")
    with pytest.raises(ValueError, match=r'overrides MODEL\.PIXEL_STD "\[58\.0, 58\.0, 58\.0\]"'):
        load_strictly(cfg, str(tmp_path / "old.pth"))


def test_a_supernet_says_what_its_networks_have_in_common():
    found = describe_network(toy.supernet_config())
    assert not any("GENOTYPE" in key for key in found)
    found = describe_network(toy.supernet_config(), Genotype(depths=(1, 2, 2, 3)))
    assert found["MODEL.GENOTYPE.DEPTHS"] == [1, 2, 2, 3]
    assert found["MODEL.GENOTYPE.OPS"] == [0] * 8
