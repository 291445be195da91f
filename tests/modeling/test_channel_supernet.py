"""Channel supernets of ResNets and the networks decoded from them (NATS)."""

import pytest
import torch
import toy
from channel_toy import (
    CHANNELS,
    assert_same_outputs,
    base_config,
    decoded_config,
    names_of,
    save,
    supernet_config,
)
from detectron2.layers import FrozenBatchNorm2d
from detectron2.modeling import build_backbone, build_model
from detectron2.modeling.backbone.resnet import BasicBlock, BottleneckBlock, ResNet
from torch.utils.flop_counter import FlopCounterMode

from crnas_d2.checkpoint import StrictCheckpointer
from crnas_d2.layers import ChannelMixedConv2d
from crnas_d2.modeling import MixedSupernet, find_supernet

each_block = pytest.mark.parametrize("block", toy.RESNETS)


@each_block
def test_a_convolution_of_each_block_of_the_searched_stages_is_mixed(block):
    body = build_backbone(supernet_config(toy.RESNETS[block])).bottom_up
    mixed = {n: m for n, m in body.named_modules() if isinstance(m, ChannelMixedConv2d)}
    assert tuple(mixed) == names_of(block)
    assert [conv.alpha.shape for conv in mixed.values()] == [(4, 2), (4, 3), (4, 3), (4, 4)]
    supernet = find_supernet(body)
    assert type(body) is ResNet and type(supernet) is MixedSupernet  # no path to choose
    assert supernet.convs == mixed
    expected_class = BasicBlock if block == "basic" else BottleneckBlock
    assert all(type(module) is expected_class for module in body.res4)


@each_block
def test_parameters_and_macs_are_those_of_the_base_network(block):
    costs = []
    with torch.device("meta"):
        for cfg in (base_config(toy.RESNETS[block]), decoded_config(CHANNELS, toy.RESNETS[block])):
            body = build_backbone(cfg).bottom_up
            with torch.no_grad(), FlopCounterMode(display=False) as counter:
                body(torch.empty(1, 3, 64, 64))
            costs.append((sum(p.numel() for p in body.parameters()), counter.get_total_flops()))
    assert costs[0] == costs[1]


def test_the_dilations_multiply_those_of_the_base_network(tmp_path):
    ops = toy.RESNETS["bottleneck"] | {"MODEL.GENOTYPE.OPS": [0, 0, 1, 2, 0]}
    body = build_backbone(supernet_config(ops)).bottom_up
    assert body.res4[0].conv2.dilations == ((2, 2), (4, 4), (2, 6))
    assert body.res4[1].conv2.dilations == ((3, 3), (6, 6), (3, 9))
    base, decoded = build_model(base_config(ops)), build_model(decoded_config([[0] * 4] * 4, ops))
    StrictCheckpointer(decoded).load(save(base, tmp_path / "base.pth"))
    assert_same_outputs(decoded, base, exact=True)


@pytest.mark.parametrize("norm", ["BN", "FrozenBN"])
def test_the_norm_is_that_of_the_base_network_and_early_stages_may_be_frozen(norm):
    cfg = supernet_config({"MODEL.RESNETS.NORM": norm, "MODEL.BACKBONE.FREEZE_AT": 2})
    body = build_backbone(cfg).bottom_up
    assert isinstance(body.res3[0].conv1.norm, FrozenBatchNorm2d) == (norm == "FrozenBN")
    assert not any(p.requires_grad for p in (*body.stem.parameters(), *body.res2.parameters()))
    assert all(p.requires_grad for p in body.res3[0].conv1.parameters())


def test_every_weight_and_every_alpha_gets_a_gradient():
    model = build_backbone(supernet_config()).bottom_up
    sum(level.square().sum() for level in model(toy.images()).values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name
