import pytest
import torch
import toy
from torch import nn

from crnas_d2.config import load_config
from crnas_d2.cost import find_body, meta_network
from crnas_d2.evaluation.receptive_field import ReceptiveField, receptive_fields
from crnas_d2.modeling import build_supernet_backbone, find_supernet
from crnas_d2.space import Genotype

RCNN = str(toy.ROOT / "configs" / "Base-RCNN-FPN.yaml")


def config(**overrides):
    keys = {"DEVICE": "cpu", "RESNETS.DEPTH": 50} | overrides
    return load_config(RCNN, toy.as_list({f"MODEL.{key}": keys[key] for key in keys}))


def body_of(**overrides):
    return find_body(meta_network(config(**overrides)))


def square(side, stride):
    return ReceptiveField((side, side), stride)


class Outputs(nn.Module):
    """A chain of modules, of which each is an output."""

    def __init__(self, *chain):
        super().__init__()
        self.chain = nn.ModuleList(chain)

    def forward(self, x):
        outputs = {}
        for index, module in enumerate(self.chain):
            x = outputs[str(index)] = module(x)
        return outputs


def test_a_stack_by_hand():
    stack = Outputs(
        nn.Conv2d(3, 2, 7, stride=2, padding=3),
        nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(2, 2, 3, padding=2, dilation=2),
        nn.Conv2d(2, 2, (3, 1), padding=(1, 0)),
        nn.AvgPool2d(2),
    )
    assert receptive_fields(stack) == {
        "0": square(7, 2),
        "1": square(7 + 2 * 2, 4),
        "2": square(11 + 2 * 2 * 4, 4),
        "3": ReceptiveField((27 + 2 * 4, 27), 4),
        "4": ReceptiveField((35 + 4, 27 + 4), 8),
    }


@pytest.mark.parametrize("depth", [50, 101])
def test_a_resnet_by_hand(depth):
    blocks = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}[depth]
    # A 7x7 with stride 2 and a pooling of 3x3 at stride 2; then one 3x3 per block, of which that
    # with the stride works on the features of the stage before.
    side, stride, expected = 7 + 2 * 2, 4, {}
    for stage, number in enumerate(blocks):
        side += 2 * stride
        stride *= 1 if stage == 0 else 2
        side += (number - 1) * 2 * stride
        expected[f"res{stage + 2}"] = square(side, stride)
    assert receptive_fields(body_of(**{"RESNETS.DEPTH": depth})) == expected
    if depth == 50:
        assert [field.size[0] for field in expected.values()] == [35, 91, 267, 427]


def test_the_stride_in_the_1x1_widens_the_field():
    # The original ResNet-50 of He et al. 2016: 483 pixels.
    fields = receptive_fields(body_of(**{"RESNETS.STRIDE_IN_1X1": True}))
    assert [field.size[0] for field in fields.values()] == [35, 99, 291, 483]


def test_a_mobilenet_by_hand():
    # Two 3x3 with stride 2 around that of c16; then 3x3 alone, the first of a stage often with
    # stride 2: at the stride before it, and as many more at its own as the stage has blocks.
    side2 = 3 + 2 * 2 + 2 * 2 + 1 * 2 * 4
    side3 = side2 + 2 * 4 + 2 * 2 * 8
    side4 = side3 + 2 * 8 + (3 + 3) * 2 * 16
    side5 = side4 + 2 * 16 + (2 + 1) * 2 * 32
    assert receptive_fields(body_of(**{"SUPERNET.FAMILY": "mobilenetv2"})) == {
        "res2": square(side2, 4),
        "res3": square(side3, 8),
        "res4": square(side4, 16),
        "res5": square(side5, 32),
    }


def dilate(conv, *dilation):
    conv.dilation = conv.padding = dilation


def test_a_dilated_block_sees_more():
    body = body_of()
    dilate(body.res4[2].conv2, 2, 2)
    dilate(body.res5[1].conv2, 1, 3)
    assert receptive_fields(body) == {
        "res2": square(35, 4),
        "res3": square(91, 8),
        "res4": square(267 + 2 * 16, 16),
        "res5": ReceptiveField((427 + 2 * 16, 427 + 2 * 16 + 4 * 32), 32),
    }


def test_a_supernet_has_the_field_of_its_path():
    supernet = build_supernet_backbone(toy.supernet_config(), toy.RGB)
    fields = []
    for depths in [(1, 2, 3, 2), (2, 1, 2, 3)]:
        fixed = {"MODEL.SUPERNET.PATH_SAMPLER": "fixed", "MODEL.GENOTYPE.DEPTHS": list(depths)}
        find_supernet(supernet).set_path(Genotype(depths=depths))
        fields.append(receptive_fields(supernet))
        alone = build_supernet_backbone(toy.supernet_config(fixed), toy.RGB)
        assert fields[-1] == receptive_fields(alone)
    assert fields[0] != fields[1]


class Branches(nn.Module):
    """Two branches whose windows have different centres, concatenated and shuffled."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3, stride=2, padding=1)  # pixels -1 to 1 of each pair
        self.pool = nn.Sequential(nn.MaxPool2d(3, 2, ceil_mode=True), nn.Conv2d(3, 2, 1))  # 0 to 2
        self.last = nn.Conv2d(2, 2, 2, stride=2, padding=2, dilation=3)

    def forward(self, x):
        x = torch.cat([self.conv(x), self.pool(x)], dim=1)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        x, _ = x.chunk(2, dim=1)
        return {"joined": x, "last": self.last(x)}


def test_branches_of_different_centres_by_hand():
    assert receptive_fields(Branches()) == {"joined": square(4, 2), "last": square(4 + 3 * 2, 4)}


@torch.no_grad()
def measured(body, axis):
    """The side of each field along an axis: which lines of pixels change the feature in the middle.

    With positive weights a feature grows with every pixel that it sees.
    """
    body.double().eval()
    for parameter in body.parameters():
        parameter.fill_(1)
    length = 256
    images = torch.ones(length + 1, 3, length, 32, dtype=torch.double)
    for line in range(length):  # the last image has none
        images[line, :, line] = 2
    sides = {}
    for name, features in body(images.transpose(2, 2 + axis)).items():
        middle = features.select(2 + axis, features.shape[2 + axis] // 2)
        seen = (middle[:-1] > middle[-1:]).flatten(1).any(1).nonzero().flatten()
        assert seen[0] > 0 and seen[-1] < length - 1, "the plate is too small"
        sides[name] = int(seen[-1] - seen[0]) + 1
    return sides


def small(dilations=(), **overrides):
    widths = {"STEM_OUT_CHANNELS": 2, "RES2_OUT_CHANNELS": 2, "WIDTH_PER_GROUP": 2}
    keys = {f"RESNETS.{key}": value for key, value in widths.items()} | overrides
    body = build_supernet_backbone(config(**{"GENOTYPE.DEPTHS": [1, 1, 1, 1]}, **keys), toy.RGB)
    for block, dilation in dilations:
        dilate(body.get_submodule(block).conv2, *dilation)
    return body


BODIES = {
    "basic": lambda: small(**{"RESNETS.DEPTH": 18}),
    "bottleneck, dilated": lambda: small([("res3.0", (2, 2)), ("res4.0", (1, 3))]),
    "stride in the 1x1": lambda: small(**{"RESNETS.STRIDE_IN_1X1": True}),
    "branches": Branches,
}


@pytest.mark.parametrize("name", BODIES)
def test_the_field_is_what_changes_a_feature(name):
    body = BODIES[name]()
    fields = receptive_fields(body)
    assert len(fields) >= 2
    for axis in (0, 1):
        assert measured(body, axis) == {name: field.size[axis] for name, field in fields.items()}


def test_a_body_is_left_as_it_is():
    body = small()
    with toy.unchanged(body):
        assert body.training and receptive_fields(body) == receptive_fields(body.eval())
    assert not any(tensor.is_meta for tensor in body.parameters())


def test_strides_are_those_that_the_body_states():
    body = body_of()
    strides = {name: field.stride for name, field in receptive_fields(body).items()}
    assert strides == {name: shape.stride for name, shape in body.output_shape().items()}


UNKNOWN = [
    (nn.Upsample(scale_factor=2), "upsample.*is not known.*keep height and width"),
    (nn.AdaptiveAvgPool2d(1), "mean.*is not known"),
    (nn.ConvTranspose2d(2, 2, 2), "transposed convolution is not known"),
]


@pytest.mark.parametrize(("module", "message"), UNKNOWN)
def test_operations_without_a_known_field_are_refused(module, message):
    with pytest.raises(ValueError, match=message):
        receptive_fields(Outputs(nn.Conv2d(3, 2, 1), module))
