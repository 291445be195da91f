"""Weights of channel supernets, of their base networks and of what is decoded (NATS 3.4)."""

import pytest
import torch
import toy
import weight_files
from channel_toy import (
    CHANNELS,
    assert_same_outputs,
    base_config,
    decide,
    decoded_config,
    names_of,
    randomize,
    save,
    supernet_config,
)
from detectron2.modeling import build_model

from crnas_d2.checkpoint import StrictCheckpointer, TrainingCheckpointer
from crnas_d2.layers import DecodedConv2d

UNIFORM = [[1] * 4] * 4  # one dilation for each convolution, and not that of the base network
each_block = pytest.mark.parametrize("block", toy.RESNETS)
each_sharing = pytest.mark.parametrize("sharing", ["none", "weight"])
each_checkpointer = pytest.mark.parametrize(
    "checkpointer", [StrictCheckpointer, TrainingCheckpointer]
)


def randomized(cfg, channels=None):
    """The network of a config with random weights, a supernet decided on channels if given."""
    model = build_model(cfg)
    randomize(model)
    if channels is not None:
        decide(model, channels)
    return model


def loaded(cfg, file, checkpointer=TrainingCheckpointer):
    model = build_model(cfg)
    checkpointer(model).load(str(file))
    return model


@each_sharing
@each_block
def test_pretrained_weights_fill_every_replica(block, sharing, tmp_path, caplog):
    base = randomized(base_config(toy.RESNETS[block]))
    config = supernet_config(toy.RESNETS[block], {"MODEL.SUPERNET.SHARING": sharing})
    supernet = loaded(config, save(base, tmp_path / "base.pth"))
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
    base = randomized(base_config(toy.RESNETS[block]))
    config = decoded_config([[0] * 4] * 4, toy.RESNETS[block])
    decoded = loaded(config, save(base, tmp_path / "base.pth"))
    assert list(decoded.state_dict()) == list(base.state_dict())
    assert_same_outputs(decoded, base, exact=True)


@pytest.mark.parametrize("source", ["base", "supernet"])
def test_a_network_of_uniform_convolutions_inherits_weights_too(source, tmp_path):
    base = save(randomized(base_config()), tmp_path / "base.pth")
    supernet = loaded(supernet_config(), base)
    decide(supernet, UNIFORM)
    save(supernet, tmp_path / "supernet.pth")
    file = tmp_path / f"{source}.pth"
    assert_same_outputs(loaded(decoded_config(UNIFORM), file, StrictCheckpointer), supernet)


@each_sharing
@each_block
@each_checkpointer
def test_a_decided_supernet_equals_the_network_decoded_from_it(
    block, sharing, checkpointer, tmp_path
):
    config = supernet_config(toy.RESNETS[block], {"MODEL.SUPERNET.SHARING": sharing})
    supernet = randomized(config, CHANNELS)
    file = save(supernet, tmp_path / "supernet.pth")
    decoded = loaded(decoded_config(CHANNELS, toy.RESNETS[block]), file, checkpointer)
    # Its third convolution has one dilation alone.
    body = decoded.backbone.bottom_up
    kinds = [type(body.get_submodule(name)) is DecodedConv2d for name in names_of(block)]
    assert kinds == [True, True, False, True]
    assert_same_outputs(decoded, supernet)


@each_block
@each_checkpointer
def test_the_base_network_gives_the_decoded_one_its_weights(block, checkpointer, tmp_path):
    file = save(randomized(base_config(toy.RESNETS[block])), tmp_path / "base.pth")
    supernet = loaded(supernet_config(toy.RESNETS[block]), file)
    decide(supernet, CHANNELS)
    decoded = loaded(decoded_config(CHANNELS, toy.RESNETS[block]), file, checkpointer)
    assert_same_outputs(decoded, supernet)


@pytest.mark.parametrize("config", [base_config, supernet_config])
def test_weights_of_a_bare_backbone_fit_a_detector(config, tmp_path, caplog):
    channels = CHANNELS if config is supernet_config else None
    base = randomized(config(toy.RESNETS["bottleneck"]), channels)
    torch.save(base.backbone.bottom_up.state_dict(), tmp_path / "body.pth")
    cfg = decoded_config(CHANNELS, toy.RESNETS["bottleneck"])
    expected = loaded(cfg, save(base, tmp_path / "base.pth"), StrictCheckpointer)
    with caplog.at_level("INFO"):
        decoded = loaded(cfg, tmp_path / "body.pth")
    assert "backbone.bottom_up.res" not in caplog.text  # nothing of the body is left out
    assert_same_outputs(decoded, expected, exact=True)


@pytest.mark.parametrize("format", weight_files.CONTENTS)
def test_published_files_fit_the_supernet_and_the_decoded_network(format, tmp_path):
    base = randomized(base_config(toy.RESNETS["resnext"]))
    file = weight_files.write(tmp_path, format, base.backbone.bottom_up.state_dict())
    decoded = loaded(decoded_config(CHANNELS, toy.RESNETS["resnext"]), file)
    supernet = loaded(supernet_config(toy.RESNETS["resnext"]), file)
    decide(supernet, CHANNELS)
    assert_same_outputs(decoded, supernet)
    stem = "backbone.bottom_up.stem.conv1.weight"
    assert torch.equal(decoded.state_dict()[stem], base.state_dict()[stem])


@each_block
@each_checkpointer
@pytest.mark.parametrize("kind", ["supernet", "decoded", "uniform"])
def test_own_weights_are_loaded_as_they_are(block, checkpointer, kind, tmp_path):
    if kind == "supernet":
        cfg, channels = supernet_config(toy.RESNETS[block]), CHANNELS
    else:
        cfg = decoded_config(UNIFORM if kind == "uniform" else CHANNELS, toy.RESNETS[block])
        channels = None
    first = randomized(cfg, channels)
    state = loaded(cfg, save(first, tmp_path / "model.pth"), checkpointer).state_dict()
    assert all(torch.equal(state[name], value) for name, value in first.state_dict().items())


OTHER_SETS = {"MODEL.SUPERNET.CHANNEL.DILATIONS": [[1, 3], [1, 2, [1, 3]], [1, 2, 3, [5, 1]]]}


@each_checkpointer
@pytest.mark.parametrize(
    ("trained", "taker"),
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
def test_weights_of_other_dilations_are_refused(trained, taker, checkpointer, tmp_path):
    file = save(build_model(trained), tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other dilations: backbone\.bottom_up\.res3\.0\.conv1"):
        loaded(taker, file, checkpointer)


@each_checkpointer
def test_weights_of_a_search_that_decided_otherwise_are_taken_with_a_warning(
    checkpointer, tmp_path, caplog
):
    supernet = build_model(supernet_config())
    decide(supernet, CHANNELS)
    file = save(supernet, tmp_path / "supernet.pth")
    loaded(decoded_config(CHANNELS), file, checkpointer)
    assert "dilation choices differ" not in caplog.text
    loaded(decoded_config([*CHANNELS[:3], [0, 3, 0, 2]]), file, checkpointer)
    assert "dilation choices differ from MODEL.GENOTYPE in 1 of 4 convolutions" in caplog.text
    assert "res5.0.conv1)" in caplog.text


@each_checkpointer
def test_weights_of_a_search_with_other_groups_are_refused(checkpointer, tmp_path):
    file = save(build_model(supernet_config()), tmp_path / "other.pth")
    cfg = supernet_config({"MODEL.SUPERNET.CHANNEL.NUM_GROUPS": 2})
    with pytest.raises(ValueError, match=r"another search: .*alpha has the shape \(4, 2\)"):
        loaded(cfg, file, checkpointer)
