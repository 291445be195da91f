import logging

import pytest
import torch
import torchvision
import toy
from detectron2.modeling import build_model
from torch import nn

from crnas_d2.checkpoint import TrainingCheckpointer, fixed_names
from crnas_d2.checkpoint.weight_file import to_detectron2_names

FAMILY = {"MODEL.SUPERNET.FAMILY": "mobilenetv2"}
CLASSIFIER = {
    "MODEL.META_ARCHITECTURE": "ImageClassifier",
    "MODEL.BACKBONE.NAME": "build_supernet_backbone",
    "MODEL.MOBILENETV2.OUT_FEATURES": ["res5"],
    "MODEL.CLASSIFIER.NUM_CLASSES": 7,
}
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
BODY = "backbone.bottom_up."


@pytest.fixture(scope="module")
def theirs():
    """torchvision's network with random weights; BN statistics follow the features, roughly."""
    torch.manual_seed(3)
    model = torchvision.models.mobilenet_v2(weights=None, num_classes=7)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -0.5, 0.5)
        norm.momentum = 1.0
    with torch.no_grad():
        model.train()(IMAGES)
        for norm in norms:
            norm.running_mean += 0.1 * norm.running_var.sqrt() * torch.randn(norm.num_features)
            norm.running_var *= torch.rand(norm.num_features) + 0.5
    return model.eval()


@pytest.fixture
def file(theirs, tmp_path):
    torch.save(theirs.state_dict(), tmp_path / "mobilenet_v2.pth")
    return str(tmp_path / "mobilenet_v2.pth")


def network(*overrides):
    return build_model(toy.network_config(FAMILY, *overrides)).eval()


def test_torchvisions_network_computes_the_same_here(theirs, file, caplog):
    model = network(CLASSIFIER)
    with caplog.at_level(logging.INFO, logger="crnas_d2"):
        TrainingCheckpointer(model).load(file)
    [record] = [record for record in caplog.records if record.name.startswith("crnas_d2")]
    # 52 convolutions with four tensors of a norm each; nothing is left, on either side.
    assert record.levelname == "INFO"
    assert "260 tensors of the body loaded (of them 0 replicas), 2 of the rest" in record.message
    assert "initialisation" not in record.message and "In the file" not in record.message
    with torch.no_grad():
        features = model.backbone(IMAGES)["res5"]
        assert torch.equal(features, theirs.features(IMAGES))
        assert features.std() > 0.1  # neither all 0 nor all 6
        assert torch.equal(model.linear(features.mean(dim=(2, 3))), theirs(IMAGES))


def test_every_output_of_a_detector_is_torchvisions(theirs, file):
    model = network()
    TrainingCheckpointer(model).load(file)
    with torch.no_grad():
        outputs = model.backbone.bottom_up(IMAGES)
        for name, end in [("res2", 4), ("res3", 7), ("res4", 14), ("res5", 19)]:
            assert torch.equal(outputs[name], theirs.features[:end](IMAGES)), name


@pytest.mark.parametrize("space", ["stage", "operation"])
def test_they_fill_every_replica_of_a_supernet(space, theirs, file):
    model = network({"MODEL.SUPERNET.SPACE": space})
    TrainingCheckpointer(model).load(file)
    weights = {name: tensor for _, name, tensor in to_detectron2_names(theirs.state_dict())}
    state = model.state_dict()
    taken = set()
    for name, place in fixed_names(model).items():
        place = place.removeprefix(BODY)
        if name.startswith(BODY) and place in weights and "num_batches" not in name:
            assert torch.equal(state[name], weights[place]), name
            taken.add(place)
    assert len(taken) == 260


@pytest.mark.parametrize("prefix", ["", "module."])
def test_names_tell_torchvisions_network_from_others(prefix, theirs):
    state = {prefix + name: tensor for name, tensor in theirs.state_dict().items()}
    names = {file: name.rpartition(".")[0] for file, name, _ in to_detectron2_names(state)}
    assert names[f"{prefix}features.0.1.running_mean"] == "stem.conv1.norm"
    assert names[f"{prefix}features.1.conv.0.0.weight"] == "c16.0.conv2"
    assert names[f"{prefix}features.1.conv.1.weight"] == "c16.0.conv3"
    assert names[f"{prefix}features.3.conv.2.weight"] == "c24.1.conv3"
    assert names[f"{prefix}features.17.conv.1.1.bias"] == "c320.0.conv2.norm"
    assert names[f"{prefix}features.18.0.weight"] == "tail.0.conv1"
    assert names[f"{prefix}classifier.1.bias"] == "linear"

    other = torchvision.models.mobilenet_v3_small(weights=None).state_dict()
    assert all(file == name for file, name, _ in to_detectron2_names(other))


def test_another_allocation_is_not_taken_for_the_published_one(tmp_path):
    setting = [[1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 2, 2], [6, 64, 3, 2]]
    other = torchvision.models.mobilenet_v2(weights=None, inverted_residual_setting=setting)
    torch.save(other.state_dict(), tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"features\.0\.0\.weight.*stem\.conv1\.weight"):
        TrainingCheckpointer(network()).load(str(tmp_path / "other.pth"))
