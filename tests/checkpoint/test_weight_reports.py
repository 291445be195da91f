"""What is said of weights that are loaded, and which are refused."""

import logging
import re

import pytest
import torch
import weight_files
from weight_files import BODY, load_into, network, published_body

from crnas_d2.checkpoint import StrictCheckpointer, TrainingCheckpointer, read_weights


@pytest.mark.parametrize("kind", ["fixed", "none", "prefix"])
def test_a_checkpoint_of_exactly_this_model_is_loaded_as_it_is(kind, tmp_path, caplog):
    model = network(kind)
    weights = weight_files.known_values(model)
    torch.save({"model": weights, "iteration": 3}, tmp_path / "model.pth")
    with caplog.at_level(logging.INFO, logger="crnas_d2"):
        _, state = load_into(model, tmp_path / "model.pth")
    for name, value in state.items():
        assert torch.equal(value, weights[name]), name
    [record] = [record for record in caplog.records if record.name.startswith("crnas_d2")]
    assert record.levelname == "INFO" and "(of them 0 replicas)" in record.message
    assert "initialisation" not in record.message


def test_the_log_says_what_was_loaded_and_what_was_not(tmp_path, caplog):
    weights = weight_files.torchvision_state(published_body())
    weights["layer2.0.conv1.weight"] = torch.zeros(9, 4, 3, 3)
    weights["layer4.3.conv1.weight"] = torch.zeros(32, 32, 3, 3)
    weights["fc.weight"] = torch.zeros(1000, 32)
    torch.save(weights, tmp_path / "resnet.pth")
    with caplog.at_level(logging.INFO, logger="crnas_d2"):
        before, state = load_into(network("none"), tmp_path / "resnet.pth")
    [record] = [record for record in caplog.records if record.name.startswith("crnas_d2")]
    assert record.levelname == "WARNING"
    text = record.message
    assert text.startswith(f"{tmp_path}/resnet.pth: ")
    # 5 of the stem; 14 blocks of 10 and 6 shortcuts of 5, less one conv in two branches.
    assert "173 tensors of the body loaded (of them 168 replicas), 0 of the rest" in text
    assert re.search(r"backbone\.bottom_up\.res4\.\*: 10 tensors \(.*res4\.0\.branches\.3\.2", text)
    assert re.search(r"roi_heads\.\*: 6 tensors \(roi_heads\.box_head\.fc1\.weight, ", text)
    assert "backbone.bottom_up.res5.*: 1 tensors (layer4.3.conv1.weight)" not in text
    assert "res5.*: 1 tensors (layer4.3.conv1.weight)" in text
    assert "linear.*: 1 tensors (fc.weight)" in text
    assert re.search(r"res3\.0\.branches\.1\.0\.conv1\.weight \(9, 4, 3, 3\) \(8, 4, 3, 3\)", text)
    name = BODY + "res3.0.branches.1.0.conv1.weight"
    assert torch.equal(state[name], before[name])
    assert "num_batches_tracked" not in text


def test_ambiguous_names_are_reported_and_fill_nothing(tmp_path, caplog):
    body = published_body()
    weights = weight_files.torchvision_state(body)
    weights["res2.0.conv1.weight"] = torch.zeros_like(body["res2.0.conv1.weight"])
    weights["weight"] = torch.zeros(1)
    torch.save({"model": weights, "matching_heuristics": True}, tmp_path / "mixed.pth")
    before, state = load_into(network("none"), tmp_path / "mixed.pth")
    for name in (BODY + "res2.0.branches.1.0.conv1.weight", "backbone.fpn_lateral2.weight"):
        assert torch.equal(state[name], before[name])
    text = caplog.records[-1].message
    assert "ambiguous" in text
    assert "layer1.0.conv1.weight, res2.0.conv1.weight; backbone.bottom_up.res2.0.branches" in text
    assert "weight; backbone.fpn_lateral2.weight, backbone.fpn_output2.weight, " in text


def toy_model():
    torch.manual_seed(0)
    return torch.nn.ModuleDict({"conv": torch.nn.Conv2d(3, 4, 3), "norm": torch.nn.BatchNorm2d(4)})


def strict(state):
    """Load a changed state dict of a small model that needs all of it."""
    return StrictCheckpointer(toy_model()), {"model": {**toy_model().state_dict(), **state}}


def lenient(weights):
    return TrainingCheckpointer(network("none")), weights


SHAPE = {f"MODEL.RESNETS.{key}_OUT_CHANNELS": 8 for key in ("STEM", "RES2")}
WIDE = weight_files.torchvision_state(published_body(SHAPE))
EXTRA, NARROW = {"other": torch.zeros(1)}, {"conv.weight": torch.zeros(4, 3, 1, 1)}
ENCODER, HEAD = {"encoder.weight": torch.zeros(3, 4)}, "roi_heads.box_head.fc1.weight"
STEM = r"stem\.conv1\.weight"
UNFIT = {
    "missing": (strict, {"conv.bias": None}, r"1 that the model needs, the file lacks: conv\.bias"),
    "missing buffer": (strict, {"norm.running_mean": None}, r"norm\.running_mean"),
    "unexpected": (strict, EXTRA, "1 that the file holds, the model has no place for: other"),
    "shape": (strict, NARROW, r"differ in shape.*conv\.weight.*4, 3, 1, 1.*4, 3, 3, 3"),
    "other network": (lenient, ENCODER, rf"file: .*encoder\.weight \(3, 4\).*{STEM}"),
    "heads alone": (lenient, {HEAD: torch.zeros(3)}, rf"file: .*{STEM} \(4, 3, 7, 7\)"),
    "nothing": (lenient, {"state_dict": {}}, "file: .*'state_dict' is of type dict.*under 'model'"),
    "width": (lenient, WIDE, r"conv1\.weight \(8, 3, 7, 7\).*\(4, 3, 7, 7\).*width"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_weights_that_do_not_fit_are_refused_by_name(case, tmp_path):
    load_by, weights, words = UNFIT[case]
    checkpointer, content = load_by(weights)
    if load_by is strict:
        content["model"] = {k: v for k, v in content["model"].items() if v is not None}
    file = str(tmp_path / "other.pth")
    torch.save(content, file)
    with pytest.raises(ValueError, match=words.replace("file:", f"MODEL.WEIGHTS {file}:")):
        checkpointer.load(file)


def test_what_a_trainer_saves_is_exact(trained, trained_supernet):
    # The fixture loads it; a checkpoint holds the optimizer and the iteration as well.
    checkpoint = torch.load(trained.MODEL.WEIGHTS, weights_only=True)
    assert {"model", "trainer", "iteration"} <= set(checkpoint)
    for name, value in trained_supernet.state_dict().items():
        assert torch.equal(value, checkpoint["model"][name])


def test_a_file_that_was_read_is_loaded_by_several_models(tmp_path):
    saved = toy_model()
    torch.nn.init.ones_(saved["conv"].weight)
    torch.save({"model": saved.state_dict(), "iteration": 7}, tmp_path / "weights.pth")
    file = read_weights(str(tmp_path / "weights.pth"))
    (tmp_path / "weights.pth").unlink()
    for checkpointer in (StrictCheckpointer, TrainingCheckpointer):
        loaded = toy_model()
        assert checkpointer(loaded).load(file) == {"iteration": 7}
        for name, value in loaded.state_dict().items():
            assert torch.equal(value, saved.state_dict()[name]), name
