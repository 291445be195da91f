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


@pytest.mark.parametrize("format", weight_files.CONTENTS)
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
    assert "dilation choices differ" not in caplog.text
    checkpointer(build_model(decoded_config([*CHANNELS[:3], [0, 3, 0, 2]]))).load(file)
    assert "dilation choices differ from MODEL.GENOTYPE in 1 of 4 convolutions" in caplog.text
    assert "res5.0.conv1)" in caplog.text


@pytest.mark.parametrize("checkpointer", [StrictCheckpointer, TrainingCheckpointer])
def test_weights_of_a_search_with_other_groups_are_refused(checkpointer, tmp_path):
    file = save(build_model(supernet_config()), tmp_path / "other.pth")
    model = build_model(supernet_config({"MODEL.SUPERNET.CHANNEL.NUM_GROUPS": 2}))
    with pytest.raises(ValueError, match=r"another search: .*alpha has the shape \(4, 2\)"):
        checkpointer(model).load(file)
