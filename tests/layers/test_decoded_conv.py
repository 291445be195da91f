"""DecodedConv2d: what the search found, with its weights and at the cost of the base network."""

import pytest
import torch
from detectron2.layers import Conv2d
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from crnas_d2.layers.channel_mixed_conv import ChannelMixedConv2d
from crnas_d2.layers.decoded_conv import DecodedConv2d, decode_conv, decoded_weights

DILATIONS = (1, 2, (1, 3), (5, 1))
CHOICE = (3, 0, 3, 1)  # no group chose dilation 2


def decided_mix(choice=CHOICE, *, channels=16, groups=1, stride=1, share_weights=False):
    """A mix with random weights whose groups have decided on ``choice``, in double precision."""
    torch.manual_seed(0)
    mixed = ChannelMixedConv2d(
        *(channels, channels),
        dilations=DILATIONS,
        num_groups=len(choice),
        groups=groups,
        stride=stride,
        share_weights=share_weights,
    ).double()
    for weight in mixed.weights:
        nn.init.normal_(weight)
    for alpha, index in zip(mixed.alpha.data, choice, strict=True):
        alpha[index] = 1e4  # a softmax of exactly 0 and 1
    assert mixed.strongest_dilations() == choice
    return mixed


def plain_conv(channels=16, *, groups=1, stride=1) -> Conv2d:
    torch.manual_seed(1)
    conv = Conv2d(channels, channels, 3, stride=stride, padding=1, groups=groups, bias=False)
    return conv.double()


def decoded(mixed: ChannelMixedConv2d) -> Conv2d | DecodedConv2d:
    """What a mix is decoded into, with the weights it inherits."""
    conv = plain_conv(mixed.out_channels, groups=mixed.groups, stride=mixed.stride)
    choice = mixed.strongest_dilations()
    conv = decode_conv(conv, dilations=DILATIONS, choice=choice)
    conv.load_state_dict({**conv.state_dict(), **decoded_weights(mixed.weights, choice)})
    return conv


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("groups", [1, 8])
@pytest.mark.parametrize("share_weights", [False, True])
def test_equals_the_mix_it_is_decoded_from(stride, groups, share_weights):
    mixed = decided_mix(groups=groups, stride=stride, share_weights=share_weights)
    conv = decoded(mixed)
    x = torch.randn(2, 16, 11, 9, dtype=torch.double)
    y = conv(x[:, list(conv.input_order)])
    torch.testing.assert_close(y, mixed(x)[:, list(conv.output_order)], rtol=1e-12, atol=1e-12)
    assert sorted(conv.output_order) == list(range(16))
    assert conv.output_order == (4, 5, 6, 7, 12, 13, 14, 15, 0, 1, 2, 3, 8, 9, 10, 11)
    assert conv.input_order == (tuple(range(16)) if groups == 1 else conv.output_order)


@pytest.mark.parametrize("groups", [1, 8])
def test_decoded_to_the_plain_dilation_it_is_the_base_convolution(groups):
    conv, base = plain_conv(groups=groups), plain_conv(groups=groups)
    result = decode_conv(conv, dilations=DILATIONS, choice=(0,) * 4)
    assert result is conv and list(result.state_dict()) == ["weight"]
    result.load_state_dict(decoded_weights(base.weight, (0,) * 4))
    x = torch.randn(2, 16, 11, 9, dtype=torch.double)
    assert torch.equal(result(x), base(x))


def test_decoded_to_one_dilation_it_is_a_plain_convolution():
    mixed = decided_mix((2, 2, 2, 2))
    conv = decoded(mixed)
    assert type(conv) is Conv2d
    assert (conv.dilation, conv.padding) == ((1, 3), (1, 3))
    assert list(conv.state_dict()) == ["weight", "group_dilations"]
    assert conv.group_dilations.tolist() == [[1, 3]] * 4
    assert torch.equal(conv.weight, mixed.weights[2])
    x = torch.randn(2, 16, 11, 9, dtype=torch.double)
    torch.testing.assert_close(conv(x), mixed(x), rtol=1e-12, atol=1e-12)


def test_takes_weight_norm_and_activation_of_the_convolution_it_replaces():
    base = plain_conv()
    base.norm, base.activation = nn.BatchNorm2d(16).double(), nn.ReLU()
    conv = decode_conv(base, dilations=DILATIONS, choice=CHOICE)
    assert conv.norm is base.norm and conv.activation is base.activation
    rows = torch.cat(list(conv.weights))
    assert torch.equal(rows, base.weight[list(conv.output_order)])
    assert [tuple(weight.shape) for weight in conv.weights] == [
        (4, 16, 3, 3),
        (4, 16, 3, 3),
        (8, 16, 3, 3),
    ]
    assert conv(torch.randn(2, 16, 5, 5, dtype=torch.double)).min() == 0


class Stack(nn.Module):
    """The convolutions of a bottleneck: 1x1, the one in question, 1x1, each with BN."""

    def __init__(self, conv2: nn.Module):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(8, 16, 1, bias=False), nn.BatchNorm2d(16)
        self.conv2, self.norm2 = conv2, nn.BatchNorm2d(16)
        self.conv3, self.norm3 = nn.Conv2d(16, 12, 1, bias=False), nn.BatchNorm2d(12)
        self.double()

    def forward(self, x):
        x = self.norm1(self.conv1(x)).relu()
        x = self.norm2(self.conv2(x)).relu()
        return self.norm3(self.conv3(x))


@pytest.mark.parametrize("groups", [1, 8])
def test_order_of_channels_folds_into_the_neighbours(groups):
    base, found = Stack(decided_mix(groups=groups)), Stack(decoded(decided_mix(groups=groups)))
    for norm in (base.norm1, base.norm2, base.norm3):
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            nn.init.uniform_(tensor, 0.5, 1.5)

    state = base.state_dict()
    before, after = list(found.conv2.input_order), list(found.conv2.output_order)
    for name, tensor in state.items():
        if name.startswith(("conv1.", "norm1.")) and tensor.dim():
            state[name] = tensor[before]
        elif name.startswith("norm2.") and tensor.dim():
            state[name] = tensor[after]
        elif name.startswith("conv3."):
            state[name] = tensor[:, after]
    replicas = [state.pop(f"conv2.weights.{g}") for g in range(len(DILATIONS))]
    del state["conv2.alpha"], state["conv2.dilation_set"]
    state["conv2.group_dilations"] = found.conv2.group_dilations
    parts = decoded_weights(replicas, CHOICE)
    found.load_state_dict({**state, **{f"conv2.{name}": part for name, part in parts.items()}})

    x = torch.randn(2, 8, 11, 9, dtype=torch.double)
    for mode in (False, True):
        base.train(mode), found.train(mode)
        torch.testing.assert_close(found(x), base(x), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("choice", [CHOICE, (0,) * 4])
def test_the_dilations_multiply_that_of_the_base_convolution(choice):
    conv, expected = plain_conv(), plain_conv()
    conv.dilation = conv.padding = (2, 3)
    conv = decode_conv(conv, dilations=DILATIONS, choice=choice)
    multiplied = ((2, 3), (4, 6), (2, 9), (10, 3))
    expected = decode_conv(expected, dilations=multiplied, choice=choice)
    x = torch.randn(2, 16, 11, 9, dtype=torch.double)
    assert torch.equal(conv(x), expected(x))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("groups", [1, 8])
def test_parameters_and_macs_are_those_of_the_base_convolution(groups, stride):
    with torch.device("meta"):
        base, conv = (plain_conv(groups=groups, stride=stride) for _ in range(2))
        conv = decode_conv(conv, dilations=DILATIONS, choice=CHOICE)
        x = torch.empty(1, 16, 12, 12, dtype=torch.double)
    costs = []
    for layer in (base, conv):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            layer(x)
        macs = counter.get_total_flops() // 2
        costs.append((sum(p.numel() for p in layer.parameters()), macs))
    assert costs[0] == costs[1]
    assert costs[0] == (16 * 16 // groups * 9, 16 * 16 // groups * 9 * (12 // stride) ** 2)


def test_state_round_trip():
    convs = [decode_conv(plain_conv(), dilations=DILATIONS, choice=CHOICE) for _ in range(2)]
    names = list(convs[0].state_dict())
    assert names == ["group_dilations", "weights.0", "weights.1", "weights.3"]
    for weight in convs[0].weights:
        nn.init.normal_(weight)
    convs[1].load_state_dict(convs[0].state_dict())
    x = torch.randn(1, 16, 5, 5, dtype=torch.double)
    assert torch.equal(convs[0](x), convs[1](x))


def test_weights_of_the_base_network_do_not_load_unordered():
    conv = decode_conv(plain_conv(), dilations=DILATIONS, choice=CHOICE)
    with pytest.raises(RuntimeError, match=r'Unexpected key.*"weight"'):
        conv.load_state_dict(plain_conv().state_dict())


@pytest.mark.parametrize("groups", [1, 8])
def test_gradients_reach_every_part(groups):
    mixed = decided_mix(groups=groups)
    conv = decoded(mixed)
    x = torch.randn(1, 16, 7, 7, dtype=torch.double)
    mixed(x).square().sum().backward()
    conv(x[:, list(conv.input_order)]).square().sum().backward()
    expected = decoded_weights([weight.grad for weight in mixed.weights], CHOICE)
    for name, parameter in conv.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("make", ["decode_conv", "DecodedConv2d"])
@pytest.mark.parametrize(
    "choice, message",
    [
        ((0, 4, 0, 1), "with 4; expected .* from 0 to 3"),
        ((), "expected for each channel group"),
        ((0, 1, 0), "num_groups is 3"),
        ((0,) * 15 + (1,), "cuts the convolution's own 8 groups"),
    ],
)
def test_refuses_what_does_not_fit(make, choice, message):
    with pytest.raises(ValueError, match=message):
        if make == "decode_conv":
            decode_conv(plain_conv(groups=8), dilations=DILATIONS, choice=choice)
        else:
            DecodedConv2d(16, 16, dilations=DILATIONS, choice=choice, groups=8)
