import pytest
import torch
import torch.nn.functional as F
from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone
from detectron2.modeling.backbone.resnet import BasicBlock, BasicStem, ResNet
from detectron2.structures import ImageList
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from crnas_d2.modeling.necks import NASFPN

LEVELS = ("p3", "p4", "p5", "p6", "p7")
RES = ("res3", "res4", "res5")
WIDTHS = {"res2": 256, "res3": 512, "res4": 1024, "res5": 2048}


class PooledBody(Backbone):
    """A body of one linear layer per feature, each of the images averaged to its stride."""

    def __init__(self, channels, strides=(4, 8, 16, 32), round_up=True):
        super().__init__()
        self.round_up = round_up
        self.shapes = {
            name: ShapeSpec(channels=width, stride=stride)
            for (name, width), stride in zip(channels.items(), strides, strict=True)
        }
        self.layers = nn.ModuleDict({name: nn.Conv2d(3, channels[name], 1) for name in channels})

    def output_shape(self):
        return self.shapes

    def forward(self, x):
        return {
            name: layer(F.avg_pool2d(x, self.shapes[name].stride, ceil_mode=self.round_up))
            for name, layer in self.layers.items()
        }


def toy_body(**args):
    return PooledBody({"res2": 3, "res3": 4, "res4": 5, "res5": 6}, **args)


def toy_neck(body=None, out_channels=8, **args):
    return NASFPN(body or toy_body(), RES, out_channels, **args)


def images(height, width, seed=0):
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(seed))


def randomize(module, seed=1):
    """Weights, biases and statistics that differ from layer to layer, so that a mix-up shows."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in module.state_dict().items():
        if tensor.dim() == 1:
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
        elif "num_batches" not in name:
            fan_in = tensor[0].numel()
            noise = torch.randn(tensor.shape, generator=generator)
            tensor.copy_(noise * (2 / fan_in) ** 0.5)


def num_parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_shapes_and_strides_on_a_detectron2_resnet():
    widths = (4, 8, 16, 32)
    stages = [
        ResNet.make_stage(
            BasicBlock,
            num_blocks=1,
            stride_per_block=[1 if index == 0 else 2],
            in_channels=widths[max(index - 1, 0)],
            out_channels=width,
            norm="BN",
        )
        for index, width in enumerate(widths)
    ]
    body = ResNet(BasicStem(3, 4, "BN"), stages, out_features=RES)
    neck = toy_neck(body, norm="BN")
    shapes = neck.output_shape()
    assert tuple(shapes) == LEVELS
    assert [shape.stride for shape in shapes.values()] == [8, 16, 32, 64, 128]
    assert {shape.channels for shape in shapes.values()} == {8}

    features = neck(images(256, 384))
    assert tuple(features) == LEVELS
    for name, feature in features.items():
        assert feature.shape == (2, 8, 256 // shapes[name].stride, 384 // shapes[name].stride)
    body_keys = {f"bottom_up.{key}" for key in body.state_dict()}
    assert body_keys == {key for key in neck.state_dict() if key.startswith("bottom_up.")}


def test_detectron2_pads_images_to_the_stride_of_p7():
    neck = toy_neck(num_stacks=1)
    batch = ImageList.from_tensors(
        [torch.zeros(3, 100, 130)],
        neck.size_divisibility,
        padding_constraints=neck.padding_constraints,
    )
    assert batch.tensor.shape[-2:] == (128, 256)


@pytest.mark.parametrize("norm", ["", "BN"])
def test_one_stack_is_the_cells_written_out(norm):
    neck = toy_neck(num_stacks=1, norm=norm).eval().double()
    randomize(neck)
    x = images(256, 384).double()

    def up(feature, times):
        return feature.repeat_interleave(times, dim=2).repeat_interleave(times, dim=3)

    def down(feature, times):
        return feature.unflatten(3, (-1, times)).unflatten(2, (-1, times)).amax(dim=(3, 5))

    def normalized(conv, feature):
        if norm == "":
            return feature
        bn = conv.norm
        scale = bn.weight / (bn.running_var + bn.eps).sqrt()
        shift = bn.bias - bn.running_mean * scale
        return feature * scale[:, None, None] + shift[:, None, None]

    def cell(name, merged):
        conv = getattr(neck.stacks[0], name)
        out = F.conv2d(merged.clamp(min=0), conv.weight, conv.bias, padding=1)
        return normalized(conv, out)

    def weight_from(feature):
        return torch.sigmoid(feature.flatten(2).max(dim=2).values)[:, :, None, None]

    body = neck.bottom_up(x)
    p3, p4, p5 = (
        normalized(conv, F.conv2d(body[name], conv.weight, conv.bias))
        for name, conv in zip(RES, neck.laterals, strict=True)
    )
    p6 = down(p5, 2)
    p7 = down(p5, 4)

    p4_first = cell("p4_first", up(p6, 4) + weight_from(p6) * p4)
    p4_second = cell("p4_second", p4_first + p4)
    p3_out = cell("p3", up(p4_second, 2) + p3)
    p4_out = cell("p4", down(p3_out, 2) + p4_second)
    p5_out = cell("p5", down(p4_out, 2) + weight_from(p4_out) * down(p3_out, 4) + p5)
    p7_out = cell("p7", down(p5_out, 4) + weight_from(p5_out) * down(p4_second, 8) + p7)
    p6_out = cell("p6", up(p7_out, 2) + weight_from(p7_out) * down(p5_out, 2))

    expected = {"p3": p3_out, "p4": p4_out, "p5": p5_out, "p6": p6_out, "p7": p7_out}
    torch.testing.assert_close(neck(x), expected, rtol=1e-10, atol=1e-10)


def test_stacks_follow_each_other_with_weights_of_their_own():
    neck = toy_neck(num_stacks=7).eval()
    randomize(neck)
    pointers = [parameter.data_ptr() for parameter in neck.stacks.parameters()]
    assert len(set(pointers)) == len(pointers) == 7 * 7 * 2

    x = images(128, 128)
    # The first six stacks as a neck, and the seventh on top of its maps.
    first = toy_neck(neck.bottom_up, num_stacks=6).eval()
    first.load_state_dict(
        {k: v for k, v in neck.state_dict().items() if not k.startswith("stacks.6.")}
    )
    last = neck.stacks[6](*first(x).values())
    torch.testing.assert_close(list(neck(x).values()), last, rtol=0, atol=0)


def test_parameters_and_macs_of_7_at_384():
    """As on a ResNet-50, for the image size of CR-NAS's table 1."""
    with torch.device("meta"):
        body = PooledBody(WIDTHS)
        neck = NASFPN(body, RES, out_channels=384, num_stacks=7, norm="BN")
        x = torch.zeros(1, 3, 800, 1088)
    lateral = (512 + 1024 + 2048) * 384 + 3 * 2 * 384
    stack = 7 * (9 * 384 * 384 + 2 * 384)
    assert lateral == 1_378_560
    assert num_parameters(neck) - num_parameters(body) == lateral + 7 * stack == 66_444_288

    def macs(module):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            module(x)
        return counter.get_total_flops() // 2

    p3, p4, p5, p6, p7 = 100 * 136, 50 * 68, 25 * 34, 13 * 17, 7 * 9
    lateral = 384 * (512 * p3 + 1024 * p4 + 2048 * p5)
    stack = 9 * 384 * 384 * (p3 + 3 * p4 + p5 + p6 + p7)
    assert macs(neck) - macs(body) == lateral + 7 * stack == 236_309_348_352


@pytest.mark.parametrize("norm", ["", "BN"])
def test_parameters_of_a_toy_neck(norm):
    neck = toy_neck(num_stacks=3, norm=norm)
    per_conv = 2 * 8 if norm else 8  # scale and shift of a norm, or a bias
    lateral = (4 + 5 + 6) * 8 + 3 * per_conv
    stack = 7 * (9 * 8 * 8 + per_conv)
    assert num_parameters(neck) - num_parameters(neck.bottom_up) == lateral + 3 * stack


@pytest.mark.parametrize("size", [(256, 256), (200, 330)])
def test_every_parameter_gets_a_gradient(size):
    body = toy_body()
    neck = toy_neck(body, norm="BN")
    generator = torch.Generator().manual_seed(2)
    features = neck(images(*size))
    # Weighted: the plain sum of a normalized map is constant.
    loss = sum((f * torch.randn(f.shape, generator=generator)).sum() for f in features.values())
    loss.backward()
    for name, parameter in neck.named_parameters():
        if name.startswith("bottom_up.layers.res2."):
            continue  # C2 is no input of the neck
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("round_up", [True, False])
@pytest.mark.parametrize("size", [(32, 32), (40, 1000), (129, 127), (200, 333), (480, 640)])
def test_any_image_size(size, round_up):
    neck = toy_neck(toy_body(round_up=round_up), num_stacks=2).eval()
    x = images(*size)
    features = neck(x)
    shapes = [tuple(neck.bottom_up(x)[name].shape[-2:]) for name in RES]
    for _ in range(2):
        shapes.append(tuple(-(-side // 2) for side in shapes[-1]))
    assert [tuple(feature.shape[-2:]) for feature in features.values()] == shapes
    assert all(feature.isfinite().all() for feature in features.values())


@pytest.mark.parametrize("levels", ["34", "234", "2345", "543", "346"])
def test_other_features_are_refused(levels):
    names = [f"res{level}" for level in levels]
    with pytest.raises(ValueError, match=r"strides \[8, 16, 32\].*'res5': 32") as error:
        NASFPN(toy_body(), names, out_channels=8)
    assert str(names) in str(error.value)


def test_a_dilated_body_and_no_stack_are_refused():
    with pytest.raises(ValueError, match=r"\[8, 16, 16\]"):
        toy_neck(toy_body(strides=(4, 8, 16, 16)))
    with pytest.raises(ValueError, match="num_stacks 0"):
        toy_neck(num_stacks=0)
