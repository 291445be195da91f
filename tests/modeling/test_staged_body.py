"""What MobileNetV2 and ShuffleNetV2 have in common: stages, outputs, freezing, norms, necks."""

from itertools import chain
from random import Random

import pytest
import torch
import toy
from detectron2.layers import FrozenBatchNorm2d
from detectron2.modeling import build_model
from torch import nn

from crnas_d2.modeling import build_supernet_retinanet_fpn_backbone

# By family, what lies in front of the first output, and from each output to the next.
PARTS = {
    "mobilenetv2": [["stem"], ["c16", "c24"], ["c32"], ["c64", "c96"], ["c160", "c320", "tail"]],
    "shufflenetv2": [["stem"], ["res2"], ["res3"], ["res4"], ["res5"], ["head"]],
}
OPERATION = {"MODEL.SUPERNET.SPACE": "operation"}
FPN = {"MODEL.BACKBONE.NAME": "build_supernet_fpn_backbone"}
each_family = pytest.mark.parametrize("family", toy.SMALL_BODIES)


def small(family, *overrides):
    return toy.build_body(family, toy.SMALL_BODIES[family], *overrides)


def out_features(family, features):
    return {f"MODEL.{family.upper()}.OUT_FEATURES": features}


def sizes(features):
    """(C, H, W) of each feature map."""
    return {name: tuple(value.shape[1:]) for name, value in features.items()}


@pytest.mark.parametrize(
    ("family", "overrides", "expected"),
    [
        (
            "mobilenetv2",
            {},
            {"res2": (24, 4), "res3": (32, 8), "res4": (96, 16), "res5": (1280, 32)},
        ),
        (
            "shufflenetv2",
            toy.SMALL_BODIES["shufflenetv2"],
            {"res2": (8, 4), "res3": (16, 8), "res4": (24, 16), "res5": (32, 32)},
        ),
    ],
    ids=PARTS,
)
def test_outputs_have_the_channels_and_strides_that_they_announce(family, overrides, expected):
    body = toy.build_body(family, overrides).eval()
    announced = {name: (s.channels, s.stride) for name, s in body.output_shape().items()}
    assert announced == expected
    for size in (64, 70):
        for name, value in body(toy.images(size)).items():
            channels, stride = announced[name]
            assert value.shape == (2, channels, -(-size // stride), -(-size // stride))


@pytest.mark.parametrize("space", [{}, OPERATION], ids=["fixed", "supernet"])
@pytest.mark.parametrize(
    ("family", "features", "last"),
    [
        ("mobilenetv2", ["res5"], "tail"),
        ("mobilenetv2", ["res2", "res4"], "c96"),
        ("mobilenetv2", ["res3"], "c32"),
        ("shufflenetv2", ["res5"], "res5"),
        ("shufflenetv2", ["res2", "res4"], "res4"),
        ("shufflenetv2", ["res3"], "res3"),
        ("shufflenetv2", ["head"], "head"),
    ],
)
def test_stages_that_no_output_needs_are_not_built(family, features, last, space):
    every = ["res2", "res3", "res4", "res5", *(["head"] if family == "shufflenetv2" else [])]
    body, whole = (
        small(family, space, out_features(family, names)).eval() for names in (features, every)
    )
    order = list(chain.from_iterable(PARTS[family]))
    assert [name for name, _ in whole.named_children()] == order
    assert [name for name, _ in body.named_children()] == order[: order.index(last) + 1]
    body.load_state_dict({name: whole.state_dict()[name] for name in body.state_dict()})
    if space:
        path = body.supernet.space.sample(Random(0))
        body.supernet.set_path(path), whole.supernet.set_path(path)
    outputs, expected = body(toy.images()), whole(toy.images())
    assert list(outputs) == list(body.output_shape()) == features
    assert all(torch.equal(outputs[name], expected[name]) for name in features)


@each_family
def test_the_other_familys_keys_do_not_matter(family):
    other = {"MODEL.RESNETS.DEPTH": 7, "MODEL.RESNETS.RES5_DILATION": 2, "MODEL.RESNETS.NORM": "GN"}
    shapes = [
        [(name, tensor.shape) for name, tensor in small(family, keys).state_dict().items()]
        for keys in ({}, other)
    ]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("freeze_at", range(6))
@each_family
def test_freeze_at_counts_as_in_detectron2(family, freeze_at):
    body = small(family, {"MODEL.BACKBONE.FREEZE_AT": freeze_at})
    frozen = list(chain.from_iterable(PARTS[family][:freeze_at]))
    for name, stage in body.named_children():
        assert {p.requires_grad for p in stage.parameters()} == {name not in frozen}
        norms = {type(module) for module in stage.modules() if "Norm" in type(module).__name__}
        assert norms == {FrozenBatchNorm2d if name in frozen else nn.BatchNorm2d}


@pytest.mark.parametrize(
    ("norm", "kind"), [("SyncBN", nn.BatchNorm2d), ("FrozenBN", FrozenBatchNorm2d), ("", None)]
)
@pytest.mark.parametrize(
    ("family", "overrides", "number"),
    [
        # Stem; the block without expansion; sixteen others; tail.
        ("mobilenetv2", {}, 1 + 2 + 16 * 3 + 1),
        # Stem; four projections; two Xception blocks; four others.
        ("shufflenetv2", {"MODEL.GENOTYPE.OPS": [3, 0, 1, 2, 0, 3]}, 1 + 4 * 2 + 2 * 6 + 4 * 3),
    ],
    ids=PARTS,
)
def test_every_convolution_has_the_norm_of_the_config(family, overrides, number, norm, kind):
    body = small(family, overrides, {f"MODEL.{family.upper()}.NORM": norm})
    convs = [module for module in body.modules() if isinstance(module, nn.Conv2d)]
    assert len(convs) == number
    assert {type(conv.norm) for conv in convs} == {type(None) if kind is None else kind}
    assert all(conv.bias is None for conv in convs)
    body.train()
    sum(output.sum() for output in body(toy.images()).values()).backward()
    assert all(conv.weight.grad is not None for conv in convs)


# CR-MobileNetV2 of CR-NAS (table 6), and a network of DetNAS's operations.
SEARCHED = {
    "mobilenetv2": {
        "MODEL.GENOTYPE.DEPTHS": [1, 1, 2, 2, 3, 4, 4, 1, 1, 1],
        "MODEL.GENOTYPE.OPS": [0, 1, 0, 1, 0, 2, 0, 1, 1, 0, 0, 1, 1, 0, 1, 1, 0, 2, 0, 0],
    },
    "shufflenetv2": {"MODEL.GENOTYPE.OPS": [3, 1, 2, 0, 1, 3]},
}


@each_family
def test_a_searched_network_runs_in_a_detector(family):
    overrides = (toy.SMALL_BODIES[family], FPN, SEARCHED[family])
    model = build_model(toy.body_config(family, *overrides)).eval()
    expected = {"p2": 16, "p3": 8, "p4": 4, "p5": 2, "p6": 1}
    assert sizes(model.backbone(toy.images())) == {
        name: (16, size, size) for name, size in expected.items()
    }
    [output] = model([{"image": torch.zeros(3, toy.SIZE, toy.SIZE)}])
    assert "instances" in output


@pytest.mark.parametrize(
    ("family", "overrides"),
    [("mobilenetv2", {}), ("shufflenetv2", out_features("shufflenetv2", ["res3", "res4", "res5"]))],
    ids=PARTS,
)
def test_retinanet_gets_p3_to_p7(family, overrides):
    levels = {"MODEL.FPN.IN_FEATURES": ["res3", "res4", "res5"]}
    cfg = toy.body_config(family, toy.SMALL_BODIES[family], overrides, levels)
    backbone = build_supernet_retinanet_fpn_backbone(cfg, toy.RGB).eval()
    expected = {"p3": 8, "p4": 4, "p5": 2, "p6": 1, "p7": 1}
    assert sizes(backbone(toy.images())) == {
        level: (16, size, size) for level, size in expected.items()
    }
