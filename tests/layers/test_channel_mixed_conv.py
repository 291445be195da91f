"""ChannelMixedConv2d: the cheap form is NATS's Eq. 3, in values, gradients and less memory."""

import copy
import math

import pytest
import torch
from detectron2.layers import Conv2d
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from crnas_d2.layers.channel_mixed_conv import ChannelMixedConv2d

DILATIONS = (1, 2, (1, 3), (5, 1))


def mixed_conv(**keywords) -> ChannelMixedConv2d:
    """In double precision, from 8 to 16 channels, with random replicas and shares."""
    torch.manual_seed(0)
    keywords = {"dilations": DILATIONS, "num_groups": 4, **keywords}
    conv = ChannelMixedConv2d(8, 16, **keywords).double()
    for parameter in conv.parameters():
        nn.init.normal_(parameter)
    return conv


def literal(conv: ChannelMixedConv2d, x: torch.Tensor) -> torch.Tensor:
    """Eq. 3 as it is written: all convolutions in full, then the sums of the groups."""
    y = 0
    for g, dilation in enumerate(conv.dilations):
        weight = conv.weights[g if len(conv.weights) > 1 else 0]
        y_g = F.conv2d(
            x, weight, None, conv.stride, padding=dilation, dilation=dilation, groups=conv.groups
        )
        # One share per group i, for each of its channels.
        share = conv.alpha.softmax(dim=1)[:, g].repeat_interleave(16 // len(conv.alpha))
        y = y + share.view(1, -1, 1, 1) * y_g
    return y


def results(conv, forward, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """The output and all gradients of a random weighting of it."""
    conv = copy.deepcopy(conv)
    x = x.clone().requires_grad_()
    y = forward(conv, x)
    (y * torch.randn(y.shape, generator=torch.Generator().manual_seed(1))).sum().backward()
    gradients = {name: parameter.grad for name, parameter in conv.named_parameters()}
    return {"y": y.detach(), "x": x.grad, **gradients}


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("groups", [1, 8])
@pytest.mark.parametrize("share_weights", [False, True])
@pytest.mark.parametrize("cut", [{"num_groups": 1}, {"channels_per_group": 2}])
def test_equals_the_sum_written_out(stride, groups, share_weights, cut):
    keywords = {"num_groups": None, **cut}
    conv = mixed_conv(stride=stride, groups=groups, share_weights=share_weights, **keywords)
    x = torch.randn(2, 8, 13, 10, dtype=torch.double)
    ours, theirs = (results(conv, f, x) for f in (ChannelMixedConv2d.forward, literal))
    assert ours["y"].shape == (2, 16, math.ceil(13 / stride), math.ceil(10 / stride))
    assert list(ours) == ["y", "x", "alpha", *(f"weights.{g}" for g in range(len(conv.weights)))]
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-12, atol=1e-12, msg=name)


def test_what_needs_no_gradient_gets_none():
    x = torch.randn(1, 8, 6, 6, dtype=torch.double)
    full = results(mixed_conv(), ChannelMixedConv2d.forward, x)
    for frozen in ("alpha", "weights"):
        conv = mixed_conv()
        for name, parameter in conv.named_parameters():
            parameter.requires_grad_(not name.startswith(frozen))
        partial = results(conv, ChannelMixedConv2d.forward, x)
        for name, value in full.items():
            if name.startswith(frozen):
                assert partial[name] is None
            else:
                assert torch.equal(partial[name], value), name


@pytest.mark.parametrize("share_weights", [False, True])
def test_starts_as_the_mean_over_dilations_of_the_convolution_it_replaces(share_weights):
    relu = nn.ReLU()
    conv = Conv2d(8, 16, 3, stride=2, padding=1, bias=False, norm=nn.BatchNorm2d(16))
    conv.activation = relu
    mixed = ChannelMixedConv2d.from_conv(
        conv, dilations=DILATIONS, num_groups=4, share_weights=share_weights
    )
    assert all(torch.equal(weight, conv.weight) for weight in mixed.weights)
    assert len(mixed.weights) == (1 if share_weights else 4)
    assert torch.equal(mixed.alpha, torch.zeros(4, 4))
    x = torch.randn(2, 8, 9, 9)
    outputs = [F.conv2d(x, conv.weight, None, 2, padding=d, dilation=d) for d in mixed.dilations]
    expected = relu(conv.norm(sum(outputs) / 4))
    torch.testing.assert_close(mixed(x), expected)


def test_with_the_plain_dilation_alone_it_is_the_convolution_it_replaces():
    conv = Conv2d(8, 16, 3, padding=1, bias=False)
    mixed = ChannelMixedConv2d.from_conv(conv, dilations=[1], channels_per_group=1)
    x = torch.randn(2, 8, 9, 9)
    assert torch.equal(mixed(x), conv(x))


def saved_bytes(forward, conv, x: torch.Tensor) -> int:
    """What autograd keeps for the backward pass, without the parameters."""
    storages = {}

    def pack(tensor):
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y = forward(conv, x)
    assert y.requires_grad
    for parameter in conv.parameters():
        storages.pop(parameter.untyped_storage().data_ptr(), None)
    return sum(storages.values())


@pytest.mark.parametrize("autocast", [False, True])
def test_keeps_its_input_once_and_nothing_else_of_size(autocast):
    # More filters than pixels, as in res5 at one image.
    conv = ChannelMixedConv2d(8, 16, dilations=DILATIONS, num_groups=4)
    x = torch.randn(1, 8, 4, 5, requires_grad=True)
    shares = 4 * 4 * 4 + 4 * 16 * 4  # softmax(alpha), and per channel
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        kept = saved_bytes(ChannelMixedConv2d.forward, conv, x)
    assert kept <= x.numel() * (2 if autocast else 4) + shares
    assert saved_bytes(literal, conv, x) > 4 * 16 * 20 * 4


@pytest.mark.parametrize("frozen", ["", "alpha"])
def test_autocast_mixes_in_full_precision(frozen):
    conv = mixed_conv().float()
    conv.alpha.requires_grad_(frozen != "alpha")
    x = torch.randn(2, 8, 13, 10)
    reference = results(conv, literal, x)

    def forward(conv, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = conv(x)
        assert y.dtype == torch.bfloat16
        return y.float()

    for name, value in results(conv, forward, x).items():
        if name == frozen:
            assert value is None
            continue
        expected = reference[name]
        assert value.dtype == torch.float32
        assert (value - expected).norm() < 0.01 * expected.norm(), name


def test_macs_are_counted_without_computing_them():
    with torch.device("meta"):
        conv = Conv2d(8, 16, 3, stride=2, padding=1, bias=False)
        conv = ChannelMixedConv2d.from_conv(conv, dilations=DILATIONS, num_groups=4)
        x = torch.empty(1, 8, 12, 10)
    with FlopCounterMode(display=False) as counter:
        assert conv(x).shape == (1, 16, 6, 5)
    assert counter.get_total_flops() // 2 == 4 * (16 * 8 * 9 * 6 * 5)  # of all dilations


def test_the_strongest_dilation_of_each_group_is_its_choice():
    conv = mixed_conv()
    conv.alpha.data = torch.tensor(
        [[0, 1, 2, 0], [0, 0, 0, 0], [-1, 3, 3, 1], [-4, -3, -2, -1]], dtype=torch.double
    )
    assert conv.strongest_dilations() == (2, 0, 1, 3)  # the first among equals


def test_entropy_runs_from_open_to_decided():
    conv = mixed_conv()
    conv.alpha.data = torch.tensor([[0.0] * 4, [0, 0, -1e4, -1e4], [1e4, 0, 0, 0], [5, 5, 5, 5]])
    expected = torch.tensor([math.log(4), math.log(2), 0, math.log(4)])
    torch.testing.assert_close(conv.entropy(), expected)
    assert not conv.entropy().requires_grad


def test_state_round_trip():
    source, target = mixed_conv(norm=nn.BatchNorm2d(16)), mixed_conv(norm=nn.BatchNorm2d(16))
    names = list(source.state_dict())
    weights = [f"weights.{index}" for index in range(4)]
    assert names[:7] == ["alpha", "dilation_set", *weights, "norm.weight"]
    nn.init.normal_(source.alpha)
    target.load_state_dict(source.state_dict())
    x = torch.randn(2, 8, 5, 5, dtype=torch.double)
    assert torch.equal(source(x), target(x))


@pytest.mark.parametrize(
    "keywords, message",
    [
        ({"num_groups": 3}, "num_groups is 3"),
        ({"num_groups": 8, "groups": 4}, "cuts the convolution's own 4 groups"),
        ({"channels_per_group": 4}, "give one of them"),
        ({"dilations": [1, 0]}, "dilations are"),
    ],
)
def test_refuses_what_does_not_fit(keywords, message):
    with pytest.raises(ValueError, match=message):
        mixed_conv(**keywords)
