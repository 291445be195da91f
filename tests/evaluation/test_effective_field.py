import functools

import channel_toy
import numpy as np
import pytest
import torch
import toy
from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone, build_model
from torch import nn

from crnas_d2.engine import Trainer
from crnas_d2.evaluation.effective_field import effective_fields, usual_features
from crnas_d2.report import Page, add_fields, field_table

SIZE = 81


class Body(Backbone):
    """Chains of convolutions, each of which is a feature map."""

    def __init__(self, **chains):
        super().__init__()
        self.chains = nn.ModuleDict({name: nn.Sequential(*chain) for name, chain in chains.items()})
        self.strides = {
            name: int(np.prod([conv.stride[0] for conv in chain])) for name, chain in chains.items()
        }

    def forward(self, x):
        return {name: chain(x) for name, chain in self.chains.items()}

    def output_shape(self):
        return {name: ShapeSpec(channels=1, stride=stride) for name, stride in self.strides.items()}


class Model(nn.Module):
    def __init__(self, **chains):
        super().__init__()
        self.backbone = Body(**chains)
        self.register_buffer("pixel_mean", torch.zeros(1, 1, 1))
        self.register_buffer("pixel_std", torch.ones(1, 1, 1))


def ones(kernel=3, dilation=1, stride=1, out_channels=1):
    padding = dilation * (kernel - 1) // 2
    conv = nn.Conv2d(1, out_channels, kernel, stride, padding, dilation, bias=False)
    nn.init.ones_(conv.weight)
    return conv


def images(number=1, height=SIZE, width=SIZE, channels=1):
    generator = torch.Generator().manual_seed(0)
    return [
        {"image": torch.rand(channels, height, width, generator=generator) * 255}
        for _ in range(number)
    ]


def energy_of_a_stack(depth, dilation=1):
    """The gradient through 3x3 convolutions of ones: the n-fold convolution of (1, 1, 1)."""
    one = np.zeros(2 * dilation + 1)
    one[::dilation] = 1
    line = functools.reduce(np.convolve, [one] * depth)
    plane = np.outer(line, line) ** 2
    return plane / plane.sum()


@pytest.mark.parametrize(("depth", "dilation"), [(1, 1), (2, 1), (6, 1), (6, 2), (4, 5)])
def test_a_stack_of_convolutions_of_ones(depth, dilation):
    model = Model(res2=[ones(dilation=dilation) for _ in range(depth)])
    [field] = effective_fields(model, images(), ["res2"]).values()
    expected = energy_of_a_stack(depth, dilation)
    radius, middle = depth * dilation, len(field.energy) // 2
    part = slice(middle - radius, middle + radius + 1)
    assert np.allclose(field.energy[part, part], expected, atol=1e-9)
    assert field.energy.sum() == pytest.approx(1) and field.rings.sum() == pytest.approx(1)
    assert field.side(1.0) == 2 * radius + 1  # all of it: the theoretical field
    # The smallest square with the share, counted out on the known field.
    parts = {2 * half + 1: slice(radius - half, radius + half + 1) for half in range(radius + 1)}
    assert field.side() == min(s for s, part in parts.items() if expected[part, part].sum() >= 0.95)
    assert field.interval() is None and not field.is_cut_off


def test_dilation_widens_and_depth_widens_with_its_root():
    chains = {f"n{n}d{d}": [ones(dilation=d) for _ in range(n)] for n in (9, 36) for d in (1, 2)}
    sides = {n: f.side() for n, f in effective_fields(Model(**chains), images(), chains).items()}
    assert 1.7 < sides["n9d2"] / sides["n9d1"] < 2.2
    assert 1.7 < sides["n36d1"] / sides["n9d1"] < 2.2


def test_the_channels_of_a_feature_do_not_cancel():
    conv = ones(out_channels=2)
    conv.weight.data.zero_()
    conv.weight.data[0, 0, 1, 0], conv.weight.data[1, 0, 1, 2] = 3, -3
    [field] = effective_fields(Model(res2=[conv]), images(), ["res2"]).values()
    middle = len(field.energy) // 2
    assert field.energy[middle, [middle - 1, middle + 1]] == pytest.approx([0.5, 0.5])


def test_features_with_strides_are_centred_at_their_pixel():
    model = Model(res3=[ones(stride=2), ones(stride=2), ones()])
    for height, width in ((80, 64), (33, 47)):
        [field] = effective_fields(model, images(2, height, width), ["res3"]).values()
        assert field.stride == 4 and field.sizes == ((height, width),) * 2
        assert np.allclose(field.energy, field.energy[::-1, ::-1])  # symmetric about the middle
        assert field.side(1.0) == 3 + 2 * 2 + 2 * 4


def test_images_of_several_sizes_count_alike():
    model = Model(res2=[ones(), ones()])
    inputs = images(1) + images(2, 21, 40)
    field, alone = (effective_fields(model, i, ["res2"])["res2"] for i in (inputs, inputs[:1]))
    assert len(field.rings) == 3 and field.side() == alone.side()
    assert np.allclose(field.rings[:, :3], alone.rings[:, :3])
    assert field.energy.sum() == pytest.approx(1)
    low, high = field.interval()
    assert low == high == field.side()  # the images do not differ


def test_a_field_beyond_the_border_is_said_to_be_cut_off():
    model = Model(res2=[ones(kernel=41)])
    small, large, off = (
        effective_fields(model, images(1, *size), ["res2"])["res2"]
        for size in ((21, 21), (81, 81), (20, 41))
    )
    assert not large.is_cut_off and large.side() > 35
    assert not small.is_cut_off and small.side() <= 21 and off.is_cut_off
    assert field_table({"net": {"res2": off}})[1][0][3].endswith("cut off")


def toy_detector(*overrides):
    model = Trainer.build_model(toy.network_config(*overrides))
    toy.randomize_norms(model)
    return model


def colours(number=2):
    return images(number, toy.SIZE, toy.SIZE + 32, channels=3)


def test_a_detector_in_training_is_measured_in_eval_mode_and_left_as_it_is():
    model = toy_detector().train()
    model.backbone.eval()
    names = usual_features(model)
    assert names == ["p3", "p4", "p5", "res3", "res4", "res5"]
    with toy.unchanged(model):
        fields = effective_fields(model, colours(), [*names, "p6"])
    assert model.training and not model.backbone.training and model.proposal_generator.training
    assert not any(parameter.grad is not None for parameter in model.parameters())
    repeated = effective_fields(model.eval(), colours(), names)
    assert all(np.array_equal(repeated[n].energy, fields[n].energy) for n in names)
    # Of the one map of its stride, 1:1 and 1:1.7; the body's map has those of the neck's.
    heights = np.diff(fields["p4"].anchors[:, 1::2])[:, 0]
    assert fields["p4"].anchors.shape == (2, 4) and heights[0] == pytest.approx(48)
    assert np.array_equal(fields["res4"].anchors, fields["p4"].anchors)


def test_other_architectures_and_networks():
    retinanet = {
        "MODEL.META_ARCHITECTURE": "RetinaNet",
        "MODEL.BACKBONE.NAME": "build_supernet_retinanet_fpn_backbone",
        "MODEL.RETINANET.NUM_CLASSES": 2,
        "MODEL.RESNETS.OUT_FEATURES": ["res3", "res4", "res5"],
        "MODEL.FPN.IN_FEATURES": ["res3", "res4", "res5"],
    }
    decoded = Trainer.build_model(channel_toy.decoded_config(channel_toy.CHANNELS))
    models = [toy_detector(retinanet), decoded, Trainer.build_model(toy.classifier_config(FIXED))]
    for model in models:
        toy.randomize_norms(model)
        fields = effective_fields(model, colours(1), usual_features(model))
        assert all(field.side() > 1 for field in fields.values())
    assert set(fields) == {"res5"} and not len(fields["res5"].anchors)


FIXED = {"MODEL.SUPERNET.SPACE": "none"}


def test_a_network_of_plain_detectron2():
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    resnet = ["DEPTH", 18, "RES2_OUT_CHANNELS", 64, "OUT_FEATURES", ["res4"]]
    cfg.MODEL.RESNETS.merge_from_list(resnet)
    torch.manual_seed(0)
    [field] = effective_fields(build_model(cfg), colours(1), ["res4"]).values()
    assert field.stride == 16 and len(field.anchors) == 15


def test_what_cannot_be_measured_is_named():
    model, dead = (Model(res2=[ones()], res3=[ones(stride=2)]) for _ in range(2))
    dead.backbone.chains.res2[0].weight.data.zero_()
    for network, inputs, feature, message in (
        (model, images(), "res4", r"no feature 'res4'; it has res2, res3\. Did you mean"),
        (model, [], "res2", "reaches the feature 'res2' in any image"),
        (dead, images(), "res2", "reaches the feature 'res2' in any image"),
        (nn.Linear(2, 2), images(), "res2", "Linear has no 'backbone'"),
    ):
        with pytest.raises(ValueError, match=message):
            effective_fields(network, inputs, [feature])


def test_networks_are_drawn_side_by_side():
    fields = {
        f"net{d}": effective_fields(Model(p3=[ones(dilation=d)] * 4), images(2), ["p3"])
        for d in (1, 2)
    }
    head, rows = field_table(fields)
    assert head[:4] == ["feature", "network", "stride", "size"]
    assert [row[:4] for row in rows] == [
        ["p3", name, "1", str(of["p3"].side())] for name, of in fields.items()
    ]
    page = Page("Fields")
    add_fields(page, fields)
    text = "".join(page.parts)
    assert text.count("<img") == 1 and "2 images of 81x81 pixels" in text
    assert f"<td>{rows[1][3]}</td>" in text
