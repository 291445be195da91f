import logging
import re

import pytest
import torch
import torchvision
import toy
import weight_files
from detectron2.modeling import build_backbone, build_model
from weight_files import BODY, PUBLISHED, load_into, network, published_body, values

from crnas_d2.checkpoint import StrictCheckpointer, TrainingCheckpointer
from crnas_d2.checkpoint.matching import match_weights
from crnas_d2.engine import Trainer

CLASSIFIER = {
    "MODEL.META_ARCHITECTURE": "ImageClassifier",
    "MODEL.BACKBONE.NAME": "build_supernet_backbone",
    "MODEL.RESNETS.OUT_FEATURES": ["res5"],
    "MODEL.CLASSIFIER.NUM_CLASSES": 3,
}


def plain_name(name):
    """``res2.1.x`` of ``res2.0.branches.2.1.x`` and ``res2.0.blocks.1.x``."""
    return re.sub(r"\.0\.(?:branches\.\d+|blocks)\.(\d+)\.", r".\1.", name)


def assert_filled(model, before, body, unless=()):
    """Each tensor of the model's body holds what the published body has for its place."""
    filled = 0
    for name, value in model.state_dict().items():
        place = plain_name(name).removeprefix(BODY)
        if name.endswith("num_batches_tracked"):
            continue
        if name.startswith(BODY) and place in body and not name.endswith(unless):
            assert torch.equal(value, body[place]), name
            assert not torch.equal(value, before[name]), name
            filled += 1
        else:
            assert torch.equal(value, before[name]), name
    return filled


@pytest.mark.parametrize(
    ("tensor", "value"),
    [
        ("conv1.weight", float("nan")),
        ("conv1.weight", float("inf")),
        ("conv1.weight", -float("inf")),
        ("running_var", -1e-3),
    ],
)
@pytest.mark.parametrize("checkpointer", [StrictCheckpointer, TrainingCheckpointer])
def test_weights_that_detect_nothing_are_refused(checkpointer, tensor, value, tmp_path):
    model = network("fixed")
    state = model.state_dict()
    name = next(name for name in state if name.endswith(tensor))
    state[name].view(-1)[3] = value
    torch.save({"model": state}, tmp_path / "model.pth")
    words = rf"model\.pth holds NaN or infinite values .* in 1 tensors: {name}\. Its training"
    with pytest.raises(ValueError, match=words):
        checkpointer(model).load(str(tmp_path / "model.pth"))


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize("kind", ["fixed", "none", "prefix"])
@pytest.mark.parametrize("format", weight_files.CONTENTS)
def test_published_weights_fill_the_body_and_nothing_else(format, kind, block, tmp_path):
    body = published_body(toy.RESNETS[block])
    model = network(kind, toy.RESNETS[block])
    before, _ = load_into(model, weight_files.write(tmp_path, format, body))
    filled = assert_filled(model, before, body)
    per_block = 5 * (2 if block == "basic" else 3)
    shortcuts = 5 * (3 if block == "basic" else 4)
    # Blocks 0 and 1 of res2 in both branches and so on; res4's third block is not published.
    blocks = {"fixed": 8, "prefix": 8, "none": (1 + 2) + (1 + 1) + (2 + 2) + (2 + 3)}[kind]
    replicas = {"fixed": 1, "prefix": 1, "none": 2}[kind]
    assert filled == 5 + blocks * per_block + replicas * shortcuts


def test_a_supernet_takes_the_block_of_the_same_index_in_every_branch(tmp_path):
    body = published_body()
    file = weight_files.write(tmp_path, "torchvision.pth", body)
    before, state = load_into(network("none"), file)
    for depth, index in [(2, 0), (2, 1), (3, 0), (3, 1)]:
        name = f"res4.0.branches.{depth}.{index}.conv2.weight"
        assert torch.equal(state[BODY + name], body[f"res4.{index}.conv2.weight"])
    beyond = BODY + "res4.0.branches.3.2.conv2.weight"
    assert torch.equal(state[beyond], before[beyond])


def test_caffe2_files_without_statistics_leave_those_of_the_model(tmp_path):
    body = published_body()
    only_affine = {name: value for name, value in body.items() if "running" not in name}
    file = weight_files.write(tmp_path, "caffe2.pkl", only_affine)
    for norm in ("BN", "FrozenBN"):
        model = network("fixed", {"MODEL.RESNETS.NORM": norm})
        before, _ = load_into(model, file)
        assert_filled(model, before, body, unless=("running_mean", "running_var"))


def test_a_frozen_network_computes_what_the_published_one_does(tmp_path):
    cfg = toy.network_config({"MODEL.GENOTYPE.DEPTHS": list(PUBLISHED)})
    source = build_model(cfg).eval()
    source.backbone.bottom_up.load_state_dict(published_body())
    file = weight_files.write(tmp_path, "caffe2-long-names.pkl", published_body())
    cfg.MODEL.RESNETS.NORM = "FrozenBN"
    model = build_model(cfg).eval()
    load_into(model, file)
    image = torch.rand(1, 3, toy.SIZE, toy.SIZE)
    expected = source.backbone.bottom_up(image)["res5"]
    torch.testing.assert_close(model.backbone.bottom_up(image)["res5"], expected)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("resnet18", {"DEPTH": 18, "RES2_OUT_CHANNELS": 64}),
        ("resnet50", {"DEPTH": 50}),
        ("resnext50_32x4d", {"DEPTH": 50, "NUM_GROUPS": 32, "WIDTH_PER_GROUP": 4}),
    ],
)
def test_torchvisions_networks_compute_the_same_here(name, shape, tmp_path, caplog):
    theirs = torchvision.models.get_model(name, weights=None).eval()
    torch.save(theirs.state_dict(), tmp_path / "torchvision.pth")
    shape = {"STEM_OUT_CHANNELS": 64, "RES2_OUT_CHANNELS": 256, "WIDTH_PER_GROUP": 64, **shape}
    overrides = {f"MODEL.RESNETS.{key}": value for key, value in shape.items()}
    plain = {"MODEL.BACKBONE.NAME": "build_supernet_backbone"}
    ours = build_backbone(toy.network_config(overrides, plain)).eval()
    with caplog.at_level(logging.INFO, logger="crnas_d2"):
        load_into(ours, tmp_path / "torchvision.pth")
    assert caplog.records[-1].levelname == "INFO"
    image = torch.rand(1, 3, toy.SIZE, toy.SIZE)
    expected = image
    for name, module in theirs.named_children():
        expected = module(expected) if name not in ("avgpool", "fc") else expected
    torch.testing.assert_close(ours(image)["res5"], expected)


def test_a_detector_of_the_model_zoo_brings_its_heads(tmp_path):
    cfg = toy.network_config({"MODEL.GENOTYPE.DEPTHS": list(PUBLISHED)})
    weights = weight_files.known_values(build_model(cfg))
    torch.save({"model": weights}, tmp_path / "zoo.pth")
    _, state = load_into(network("none"), tmp_path / "zoo.pth")
    heads = [name for name in state if not name.startswith(BODY)]
    assert len(heads) > 20
    for name in heads:
        assert torch.equal(state[name], weights[name]), name


MOBILENETV2 = {"MODEL.SUPERNET.FAMILY": "mobilenetv2", "MODEL.MOBILENETV2.WIDTH_MULT": 0.25}


@pytest.mark.parametrize(
    ("config", "shape"),
    [
        (toy.supernet_config, {"MODEL.SUPERNET.SHARING": "none"}),
        (toy.supernet_config, {"MODEL.SUPERNET.SHARING": "prefix"}),
        (toy.network_config, {**MOBILENETV2, "MODEL.MOBILENETV2.OUT_FEATURES": ["res5"]}),
    ],
    ids=["none", "prefix", "mobilenetv2"],
)
def test_classifier_and_detector_exchange_their_body(config, shape, tmp_path):
    classifier = build_model(config(shape, CLASSIFIER))
    outputs = {"MODEL.MOBILENETV2.OUT_FEATURES": ["res2", "res3", "res4", "res5"]}
    detector = build_model(config(shape, outputs))
    for source, target in [(classifier, detector), (detector, classifier)]:
        weights = weight_files.known_values(source)
        torch.save({"model": weights}, tmp_path / "source.pth")
        before, state = load_into(target, tmp_path / "source.pth")
        moved = 0
        for name, value in state.items():
            here, there = (BODY, "backbone.") if target is detector else ("backbone.", BODY)
            other = there + name.removeprefix(here)
            if name.startswith(here):
                assert torch.equal(value, weights[other]), name
                moved += 1
            else:
                assert torch.equal(value, before[name]), name
        assert moved == len(detector.backbone.bottom_up.state_dict())


def test_no_block_is_filled_by_the_end_of_its_name(tmp_path):
    body = published_body()
    stem = {name: value for name, value in body.items() if name.startswith("stem.")}
    ends = ("", "0.", "1.0.", "branches.2.0.")
    traps = {f"{end}conv1.weight": body["res2.0.conv1.weight"] for end in ends}
    file = weight_files.write(tmp_path, "torchvision-converted.pkl", {**stem, **traps})
    for kind in ("none", "prefix", "fixed"):
        model = network(kind)
        before, _ = load_into(model, file)
        assert assert_filled(model, before, stem) == 5


def test_heads_of_detectron1_are_found_by_the_end_of_their_names(tmp_path):
    model = network("none")
    head = torch.full_like(model.state_dict()["roi_heads.box_head.fc1.weight"], 0.25)
    blobs = {**weight_files.caffe2_blobs(published_body()), "fc6_w": head.numpy()}
    weight_files.dump(tmp_path / "detector.pkl", {"blobs": blobs})
    _, state = load_into(model, tmp_path / "detector.pkl")
    assert torch.equal(state["roi_heads.box_head.fc1.weight"], head)


def test_a_trainer_starts_from_published_weights_and_resumes_from_its_own(toy_datasets, tmp_path):
    body = published_body()
    overrides = {
        "MODEL.WEIGHTS": weight_files.write(tmp_path, "torchvision-converted.pkl", body),
        "SOLVER.MAX_ITER": 1,
        "OUTPUT_DIR": str(tmp_path / "output"),
    }
    cfg = toy.supernet_config(toy_datasets, overrides)
    trainer = Trainer(cfg)
    before = values(trainer.model)
    trainer.resume_or_load(resume=True)
    assert_filled(trainer.model, before, body)
    trainer.train()

    resumed = Trainer(cfg)
    resumed.resume_or_load(resume=True)
    assert resumed.start_iter == 1
    for name, value in resumed.model.state_dict().items():
        assert torch.equal(value, trainer.model.state_dict()[name]), name
    StrictCheckpointer(resumed.model).load(f"{cfg.OUTPUT_DIR}/model_final.pth")


def test_matching_changes_neither_side():
    model, body = network("none"), published_body()
    before, kept = values(model), {name: value.clone() for name, value in body.items()}
    assert match_weights(model, body).tensors
    for tensors, copies in [(model.state_dict(), before), (body, kept)]:
        assert all(torch.equal(value, copies[name]) for name, value in tensors.items())
