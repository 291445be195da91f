import pytest
import torch
import torch.nn.functional as F
import toy
from detectron2.config import CfgNode

from crnas_d2.config import NetworkSpec, load_config
from crnas_d2.cost import body_cost
from crnas_d2.engine import Trainer
from crnas_d2.verbs.export.plain import describe_plain

DETECTOR = toy.ROOT / "projects/DetNAS/configs/baseline/faster_rcnn_DetNet-59_FPN_1x.yaml"
NARROW = {
    "MODEL.DEVICE": "cpu",
    "MODEL.WEIGHTS": "",
    "MODEL.RESNETS.STEM_OUT_CHANNELS": 4,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 8,
    "MODEL.RESNETS.WIDTH_PER_GROUP": 2,
    "MODEL.FPN.OUT_CHANNELS": 6,
}


def config(*overrides) -> CfgNode:
    return load_config(str(DETECTOR), toy.as_list(NARROW, *overrides))


@pytest.fixture(scope="module")
def backbone():
    torch.manual_seed(0)
    return Trainer.build_model(config()).backbone.eval()


def test_the_last_three_stages_have_one_resolution_and_the_last_two_dilated_blocks(backbone):
    body = backbone.bottom_up
    shapes = {name: (shape.stride, shape.channels) for name, shape in body.output_shape().items()}
    expected = {"res2": (4, 8), "res3": (8, 16), "res4": (16, 32)}
    assert shapes == {**expected, "res5": (16, 32), "res6": (16, 32)}
    for stage in ("res5", "res6"):
        blocks = list(getattr(body, stage))
        assert [block.conv2.dilation for block in blocks] == [(2, 2)] * 3
        # Bottleneck B has a projection, which two blocks of bottleneck A follow.
        assert [block.shortcut is not None for block in blocks] == [True, False, False]
    assert {block.conv2.dilation for block in body.res4} == {(1, 1)}


def test_levels_of_one_stride_are_added_as_they_are(backbone):
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        features, found = backbone.bottom_up(x), backbone(x)
        lateral = {name: backbone.lateral[name](maps) for name, maps in features.items()}
        p4 = lateral["res4"] + lateral["res5"] + lateral["res6"]
        p3 = lateral["res3"] + F.interpolate(p4, scale_factor=2)
        expected = {"p3": backbone.output["res3"](p3), "p4": backbone.output["res4"](p4)}
    for level, maps in expected.items():
        assert torch.allclose(found[level], maps, atol=1e-5)
    assert list(found) == ["p2", "p3", "p4", "p5", "p6"]
    assert {level: maps.shape[-2:] for level, maps in found.items()} == {
        level: (64 // stride, 96 // stride)
        for level, stride in {"p2": 4, "p3": 8, "p4": 16, "p5": 16, "p6": 16}.items()
    }


def test_it_costs_what_the_table_says():
    file = toy.ROOT / "projects/DetNAS/configs/pretrain/DetNet-59.yaml"
    cfg = load_config(str(file), ["MODEL.DEVICE", "cpu"])
    assert body_cost(NetworkSpec.from_config(cfg), (224, 224)).macs == 4_844_994_560


def test_an_export_does_not_take_it_for_a_resnet(backbone):
    cfg = config()
    plain = describe_plain(cfg, NetworkSpec.from_config(cfg), backbone)
    assert "crnas_d2" in plain.needs and "no detnet" in plain.why
