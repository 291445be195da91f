"""ShuffleBlock and XceptionBlock: what is in them, and what they compute."""

import pytest
import torch
import toy
from torch import nn

from crnas_d2.cost import count_parameters
from crnas_d2.layers import ShuffleBlock
from crnas_d2.modeling.families import ShuffleNetV2Family

OPERATIONS = ShuffleNetV2Family.operations


def convolutions(layers):
    """``(in, out, kernel, stride)`` of each; a depthwise one has 1 in each group."""
    return [(*conv.weight.shape[1::-1], conv.kernel_size[0], conv.stride[0]) for conv in layers]


@pytest.mark.parametrize(
    ("op", "parameters"),
    [
        # 1x1: 8 * 8 = 64; depthwise: 8 * k * k; 1x1: 8 * 8 = 64; three norms: 3 * 2 * 8 = 48.
        (0, 64 + 8 * 9 + 64 + 48),
        (1, 64 + 8 * 25 + 64 + 48),
        (2, 64 + 8 * 49 + 64 + 48),
        # Three times depthwise 8 * 9 = 72 and 1x1 8 * 8 = 64; six norms: 6 * 2 * 8 = 96.
        (3, 3 * (72 + 64) + 96),
    ],
)
def test_a_block_of_stride_1_works_on_half_of_its_channels(op, parameters):
    block = OPERATIONS[op].make(16, 16, 1)
    assert block.projection is None
    assert count_parameters(block) == parameters
    assert block(torch.randn(2, 16, 7, 9)).shape == (2, 16, 7, 9)
    depthwise, pointwise = (1, 8, 3 + 2 * op, 1), (8, 8, 1, 1)
    expected = [pointwise, depthwise, pointwise]
    if op == 3:
        expected = [(1, 8, 3, 1), pointwise] * 3
    assert convolutions(block.branch) == expected


@pytest.mark.parametrize(
    ("op", "parameters"),
    [
        # Branch. 1x1: 6 * 8 = 48; depthwise: 8 * k * k; 1x1: 8 * 10 = 80; norms: 2 * (8 + 8 + 10).
        # Projection. Depthwise: 6 * k * k; 1x1: 6 * 6 = 36; norms: 2 * (6 + 6) = 24.
        (0, 48 + 8 * 9 + 80 + 52 + 6 * 9 + 36 + 24),
        (1, 48 + 8 * 25 + 80 + 52 + 6 * 25 + 36 + 24),
        (2, 48 + 8 * 49 + 80 + 52 + 6 * 49 + 36 + 24),
        # Branch. Depthwise 6 * 9 = 54, 1x1 6 * 8 = 48; depthwise 8 * 9 = 72, 1x1 8 * 8 = 64;
        # depthwise 72, 1x1 8 * 10 = 80; norms 2 * (6 + 8 + 8 + 8 + 8 + 10) = 96. The projection has
        # kernel 3.
        (3, 54 + 48 + 72 + 64 + 72 + 80 + 96 + 6 * 9 + 36 + 24),
    ],
)
def test_a_block_of_stride_2_makes_the_new_channels_and_projects_the_old_ones(op, parameters):
    block = OPERATIONS[op].make(6, 16, 2)
    assert count_parameters(block) == parameters
    for size, half in [((8, 6), (4, 3)), ((7, 9), (4, 5))]:
        assert block(torch.randn(2, 6, *size)).shape == (2, 16, *half)
    kernel = (3, 5, 7, 3)[op]  # which the projection takes too
    assert convolutions(block.projection) == [(1, 6, kernel, 2), (6, 6, 1, 1)]
    expected = [(6, 8, 1, 1), (1, 8, kernel, 2), (8, 10, 1, 1)]
    if op == 3:
        expected = [(1, 6, 3, 2), (6, 8, 1, 1), (1, 8, 3, 1), (8, 8, 1, 1)]
        expected += [(1, 8, 3, 1), (8, 10, 1, 1)]
    assert convolutions(block.branch) == expected


def channel_shuffle(x, groups):
    """Of ShuffleNet (Zhang et al. 2018, figure 1): the first of each group, then the second..."""
    size = x.shape[1] // groups
    order = [group * size + place for place in range(size) for group in range(groups)]
    return torch.stack([x[:, channel] for channel in order], dim=1)


def unit(x, conv, relu):
    """A convolution and its norm with their weights, as the formulas of both."""
    padding = conv.kernel_size[0] // 2
    x = nn.functional.conv2d(x, conv.weight, None, conv.stride, padding, groups=conv.groups)
    norm = conv.norm
    mean, var = (s[:, None, None] for s in (norm.running_mean, norm.running_var))
    x = (x - mean) / (var + norm.eps) ** 0.5
    x = x * norm.weight[:, None, None] + norm.bias[:, None, None]
    return x.clamp(min=0) if relu else x


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("op", [0, 1, 2, 3])
def test_a_block_computes_what_its_definition_says(op, stride):
    block = OPERATIONS[op].make(12 if stride == 1 else 6, 12, stride).eval()
    toy.randomize_norms(block)
    x = torch.randn(2, block.in_channels, 6, 6)
    if stride == 1:
        passing, branch = channel_shuffle(x, groups=6).split(6, dim=1)
    else:
        passing, branch = unit(unit(x, block.projection[0], False), block.projection[1], True), x
    for conv in block.branch:  # depthwise convolutions are linear, 1x1 convolutions have ReLU
        branch = unit(branch, conv, relu=conv.groups == 1)
    torch.testing.assert_close(block(x), torch.cat([passing, branch], dim=1))


def test_each_half_takes_from_what_passed_and_from_what_was_made():
    block = ShuffleBlock(8, 8).eval()
    nn.init.zeros_(block.branch[-1].weight)
    nn.init.constant_(block.branch[-1].norm.bias, 9.0)  # what the branch makes
    x = torch.arange(8.0).view(1, 8, 1, 1)
    once = block(x)
    assert once.flatten().tolist() == [0, 2, 4, 6, 9, 9, 9, 9]
    taken = []
    block.branch.register_forward_pre_hook(lambda _, args: taken.append(args[0].flatten().tolist()))
    assert block(once).flatten().tolist() == [0, 4, 9, 9, 9, 9, 9, 9]
    assert taken == [[2, 6, 9, 9]]
