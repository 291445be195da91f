"""Channel supernets of ResNets, the networks decoded from them, and their weights (NATS 3.4)."""

import pytest
import torch
import toy
import weight_files
from detectron2.layers import FrozenBatchNorm2d
from detectron2.modeling import build_backbone, build_model
from detectron2.modeling.backbone.resnet import BasicBlock, BottleneckBlock, ResNet
from torch.utils.flop_counter import FlopCounterMode

from crnas_d2.checkpoint import StrictCheckpointer, TrainingCheckpointer
from crnas_d2.layers import ChannelMixedConv2d, DecodedConv2d
from crnas_d2.modeling import find_mixed_convs, find_supernet

DEPTHS = [1, 1, 2, 1]
PLACES = ("res3.0", "res4.0", "res4.1", "res5.0")
CHANNELS = [[1, 0, 1, 0], [2, 0, 0, 1], [2, 2, 2, 2], [1, 3, 0, 2]]
UNIFORM = [[1] * 4] * 4  # one dilation for each convolution, and not that of the base network
BASE = {
    "MODEL.GENOTYPE.DEPTHS": DEPTHS,
    "MODEL.SUPERNET.CHANNEL.DILATIONS": [[1, 2], [1, 2, [1, 3]], [1, 2, 3, [5, 1]]],
    "MODEL.SUPERNET.CHANNEL.NUM_GROUPS": 4,
}
CHANNEL = {"MODEL.SUPERNET.SPACE": "channel", "MODEL.SUPERNET.PATH_SAMPLER": "alpha"}
each_block = pytest.mark.parametrize("block", toy.RESNETS)
each_sharing = pytest.mark.parametrize("sharing", ["none", "weight"])


def names_of(block):
    """The searched convolutions: the 3x3 of each block that is not the last one."""
    return tuple(f"{place}.{'conv1' if block == 'basic' else 'conv2'}" for place in PLACES)


def base_config(*overrides):
    return toy.network_config(BASE, *overrides)


def supernet_config(*overrides):
    return base_config(CHANNEL, *overrides)


def decoded_config(channels, *overrides):
    return base_config({"MODEL.GENOTYPE.CHANNELS": channels}, *overrides)


def images():
    return torch.rand(2, 3, toy.SIZE, toy.SIZE, generator=torch.Generator().manual_seed(0))


def randomize(model):
    """Random weights and BN statistics, those of the body unlike for each channel."""
    generator = torch.Generator().manual_seed(2)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not name.endswith(".alpha"):
            scale, shift = (1.0, 0.5) if "norm" in name else (0.4, -0.2)
            tensor.copy_(torch.rand(tensor.shape, generator=generator) * scale + shift)


def decide(model, channels):
    """Alpha so large that the softmax is exactly 0 or 1."""
    for conv, indices in zip(find_mixed_convs(model).values(), channels, strict=True):
        for row, index in zip(conv.alpha.data, indices, strict=True):
            row[index] = 1e4


def save(model, path):
    torch.save({"model": model.state_dict()}, path)
    return str(path)


def assert_same_outputs(model, other, exact=False):
    tolerance = {"rtol": 0, "atol": 0} if exact else {"rtol": 1e-3, "atol": 1e-4}
    for training in (False, True):
        expected = other.train(training).backbone.bottom_up(images())
        for level, value in model.train(training).backbone.bottom_up(images()).items():
            torch.testing.assert_close(value, expected[level], **tolerance)


@each_block
def test_a_convolution_of_each_block_of_the_searched_stages_is_mixed(block):
    body = build_backbone(supernet_config(toy.RESNETS[block])).bottom_up
    mixed = {n: m for n, m in body.named_modules() if isinstance(m, ChannelMixedConv2d)}
    assert tuple(mixed) == names_of(block)
    assert [conv.alpha.shape for conv in mixed.values()] == [(4, 2), (4, 3), (4, 3), (4, 4)]
    assert type(body) is ResNet and find_supernet(body) is None  # no path to choose
    expected_class = BasicBlock if block == "basic" else BottleneckBlock
    assert all(type(module) is expected_class for module in body.res4)


@each_sharing
@each_block
def test_pretrained_weights_fill_every_replica(block, sharing, tmp_path, caplog):
    base = build_model(base_config(toy.RESNETS[block]))
    randomize(base)
    supernet = build_model(supernet_config(toy.RESNETS[block], {"MODEL.SUPERNET.SHARING": sharing}))
    TrainingCheckpointer(supernet).load(save(base, tmp_path / "base.pth"))
    state, weights = supernet.state_dict(), base.state_dict()
    for name, num_dilations in zip(names_of(block), (2, 3, 3, 4), strict=True):
        place = f"backbone.bottom_up.{name}"
        replicas = [key for key in state if key.startswith(f"{place}.weights.")]
        assert len(replicas) == (num_dilations if sharing == "none" else 1)
        assert all(torch.equal(state[key], weights[f"{place}.weight"]) for key in replicas)
    assert "Keep their initialisation" not in caplog.text
    # Decided on (1, 1) everywhere, it computes what the pretrained network did.
    decide(supernet, [[0] * 4] * 4)
    assert_same_outputs(supernet, base)


@each_block
def test_decoded_to_the_plain_dilation_it_is_the_base_network(block, tmp_path):
    base = build_model(base_config(toy.RESNETS[block]))
    randomize(base)
    decoded = build_model(decoded_config([[0] * 4] * 4, toy.RESNETS[block]))
    TrainingCheckpointer(decoded).load(save(base, tmp_path / "base.pth"))
    assert list(decoded.state_dict()) == list(base.state_dict())
    assert_same_outputs(decoded, base, exact=True)


@pytest.mark.parametrize("source", ["base", "supernet"])
def test_a_network_of_uniform_convolutions_inherits_weights_too(source, tmp_path):
    base, supernet = build_model(base_config()), build_model(supernet_config())
    randomize(base)
    TrainingCheckpointer(supernet).load(save(base, tmp_path / "base.pth"))
    decide(supernet, UNIFORM)
    save(supernet, tmp_path / "supernet.pth")
    uniform = build_model(decoded_config(UNIFORM))
    StrictCheckpointer(uniform).load(str(tmp_path / f"{source}.pth"))
    assert_same_outputs(uniform, supernet)


@each_sharing
@each_block
@pytest.mark.parametrize("checkpointer", [StrictCheckpointer, TrainingCheckpointer])
def test_a_decided_supernet_equals_the_network_decoded_from_it(
    block, sharing, checkpointer, tmp_path
):
    supernet = build_model(supernet_config(toy.RESNETS[block], {"MODEL.SUPERNET.SHARING": sharing}))
    randomize(supernet)
    decide(supernet, CHANNELS)
    decoded = build_model(decoded_config(CHANNELS, toy.RESNETS[block]))
    checkpointer(decoded).load(save(supernet, tmp_path / "supernet.pth"))
    # Its third convolution has one dilation alone.
    body = decoded.backbone.bottom_up
    kinds = [type(body.get_submodule(name)) is DecodedConv2d for name in names_of(block)]
    assert kinds == [True, True, False, True]
    assert_same_outputs(decoded, supernet)


@each_block
@pytest.mark.parametrize("checkpointer", [StrictCheckpointer, TrainingCheckpointer])
def test_the_base_network_gives_the_decoded_one_its_weights(block, checkpointer, tmp_path):
    base = build_model(base_config(toy.RESNETS[block]))
    randomize(base)
    file = save(base, tmp_path / "base.pth")
    supernet = build_model(supernet_config(toy.RESNETS[block]))
    TrainingCheckpointer(supernet).load(file)
    decide(supernet, CHANNELS)
    decoded = build_model(decoded_config(CHANNELS, toy.RESNETS[block]))
    checkpointer(decoded).load(file)
    assert_same_outputs(decoded, supernet)


@pytest.mark.parametrize("config", [base_config, supernet_config])
def test_weights_of_a_bare_backbone_fit_a_detector(config, tmp_path, caplog):
    base = build_model(config(toy.RESNETS["bottleneck"]))
    randomize(base)
    if config is supernet_config:
        decide(base, CHANNELS)
    torch.save(base.backbone.bottom_up.state_dict(), tmp_path / "body.pth")
    decoded = build_model(decoded_config(CHANNELS, toy.RESNETS["bottleneck"]))
    expected = build_model(decoded_config(CHANNELS, toy.RESNETS["bottleneck"]))
    StrictCheckpointer(expected).load(save(base, tmp_path / "base.pth"))
    with caplog.at_level("INFO"):
        TrainingCheckpointer(decoded).load(str(tmp_path / "body.pth"))
    assert "backbone.bottom_up.res" not in caplog.text  # nothing of the body is left out
    assert_same_outputs(decoded, expected, exact=True)


@pytest.mark.parametrize("format", weight_files.WRITERS)
def test_published_files_fit_the_supernet_and_the_decoded_network(format, tmp_path):
    base = build_model(base_config(toy.RESNETS["resnext"]))
    randomize(base)
    file = weight_files.write(tmp_path, format, base.backbone.bottom_up.state_dict())
    decoded = build_model(decoded_config(CHANNELS, toy.RESNETS["resnext"]))
    supernet = build_model(supernet_config(toy.RESNETS["resnext"]))
    for model in (decoded, supernet):
        TrainingCheckpointer(model).load(file)
    decide(supernet, CHANNELS)
    assert_same_outputs(decoded, supernet)
    stem = "backbone.bottom_up.stem.conv1.weight"
    assert torch.equal(decoded.state_dict()[stem], base.state_dict()[stem])


@each_block
@pytest.mark.parametrize("checkpointer", [StrictCheckpointer, TrainingCheckpointer])
@pytest.mark.parametrize("kind", ["supernet", "decoded", "uniform"])
def test_own_weights_are_loaded_as_they_are(block, checkpointer, kind, tmp_path):
    channels = UNIFORM if kind == "uniform" else CHANNELS
    config = supernet_config if kind == "supernet" else lambda *o: decoded_config(channels, *o)
    first, second = (build_model(config(toy.RESNETS[block])) for _ in range(2))
    randomize(first)
    if kind == "supernet":
        decide(first, CHANNELS)
    checkpointer(second).load(save(first, tmp_path / "model.pth"))
    state = second.state_dict()
    assert all(torch.equal(state[name], value) for name, value in first.state_dict().items())


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
    sum(level.square().sum() for level in model(images()).values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"MODEL.SUPERNET.SHARING": "prefix"}, r"'prefix'.*none.*weight.*channel space"),
        ({"MODEL.RESNETS.NORM": "GN"}, r"NORM is 'GN'.*another order"),
        ({"MODEL.BACKBONE.FREEZE_AT": 3}, r"FREEZE_AT is 3, which freezes res3"),
        ({"MODEL.SUPERNET.CHANNEL.NUM_GROUPS": 3}, "NUM_GROUPS, in res3"),
    ],
    ids=["sharing", "norm", "frozen", "groups"],
)
def test_settings_that_cannot_be_honoured_are_refused(overrides, words):
    with pytest.raises(ValueError, match=words):
        build_backbone(supernet_config(overrides))


OTHER_SETS = {"MODEL.SUPERNET.CHANNEL.DILATIONS": [[1, 3], [1, 2, [1, 3]], [1, 2, 3, [5, 1]]]}


@pytest.mark.parametrize("checkpointer", [StrictCheckpointer, TrainingCheckpointer])
@pytest.mark.parametrize(
    ("trained", "loaded"),
    [
        (supernet_config(), supernet_config(OTHER_SETS)),
        (supernet_config(), decoded_config(CHANNELS, OTHER_SETS)),
        (decoded_config(CHANNELS), decoded_config([[0, 1, 0, 1], *CHANNELS[1:]])),
        (decoded_config(CHANNELS), base_config()),
        (decoded_config(CHANNELS), supernet_config()),
        (decoded_config(UNIFORM), base_config()),
        (decoded_config(UNIFORM), decoded_config(CHANNELS)),
        (decoded_config(UNIFORM), supernet_config()),
    ],
    ids=["supernet", "decoded", "genotype", "base", "mixed", "uniform", "uniform-2", "uniform-3"],
)
def test_weights_of_other_dilations_are_refused(trained, loaded, checkpointer, tmp_path):
    file = save(build_model(trained), tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other dilations: backbone\.bottom_up\.res3\.0\.conv1"):
        checkpointer(build_model(loaded)).load(file)


@pytest.mark.parametrize("checkpointer", [StrictCheckpointer, TrainingCheckpointer])
def test_weights_of_a_search_that_decided_otherwise_are_taken_with_a_warning(
    checkpointer, tmp_path, caplog
):
    supernet = build_model(supernet_config())
    decide(supernet, CHANNELS)
    file = save(supernet, tmp_path / "supernet.pth")
    checkpointer(build_model(decoded_config(CHANNELS))).load(file)
    assert "decided otherwise" not in caplog.text
    checkpointer(build_model(decoded_config([*CHANNELS[:3], [0, 3, 0, 2]]))).load(file)
    assert "decided otherwise than MODEL.GENOTYPE in 1 of 4 convolutions" in caplog.text
    assert "res5.0.conv1)" in caplog.text


@pytest.mark.parametrize("checkpointer", [StrictCheckpointer, TrainingCheckpointer])
def test_weights_of_a_search_with_other_groups_are_refused(checkpointer, tmp_path):
    file = save(build_model(supernet_config()), tmp_path / "other.pth")
    model = build_model(supernet_config({"MODEL.SUPERNET.CHANNEL.NUM_GROUPS": 2}))
    with pytest.raises(ValueError, match=r"another search: .*alpha has the shape \(4, 2\)"):
        checkpointer(model).load(file)
