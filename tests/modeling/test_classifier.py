import copy
import math

import pytest
import torch
import toy
from detectron2.layers import CNNBlockBase

from crnas_d2.engine import Trainer
from crnas_d2.evaluation import calibrated
from crnas_d2.modeling import find_supernet
from crnas_d2.space import Genotype

PATHS = [Genotype(depths=depths) for depths in toy.ELIGIBLE]


def batch(num_images=4, classes=3, size=64):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (num_images, 3, size, size), generator=generator).byte()
    return [{"image": image, "label": k % classes} for k, image in enumerate(images)]


def classifier(*overrides):
    torch.manual_seed(0)
    return Trainer.build_model(toy.classifier_config(*overrides))


def fixed(*overrides):
    return classifier(
        {"MODEL.SUPERNET.SPACE": "none", "MODEL.GENOTYPE.DEPTHS": [1, 2, 2, 1]}, *overrides
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_smoothed_cross_entropy(smoothing):
    model = fixed({"MODEL.CLASSIFIER.LABEL_SMOOTHING": smoothing})
    images = batch()
    model.train()
    loss = model(images)
    assert set(loss) == {"loss_cls"}

    body = model.backbone(model.preprocess_image(images).tensor)["res5"]
    by_hand = 0.0
    for features, image in zip(body, images, strict=True):
        scores = (model.linear.weight @ features.mean(dim=(1, 2)) + model.linear.bias).tolist()
        total = math.log(sum(map(math.exp, scores)))
        target = [smoothing / 3] * 3
        target[image["label"]] += 1 - smoothing
        by_hand += sum(t * (total - s) for t, s in zip(target, scores, strict=True)) / len(images)
    assert loss["loss_cls"].item() == pytest.approx(by_hand, abs=1e-5)


def test_inference_gives_the_probabilities_of_each_image():
    model = fixed().eval()
    images = batch()
    outputs = model(images)
    assert len(outputs) == len(images)
    for image, output in zip(images, outputs, strict=True):
        assert output["scores"].shape == (3,)
        assert output["scores"].sum().item() == pytest.approx(1, abs=1e-5)
        alone = model([{"image": image["image"]}])  # no label, no other images
        assert torch.allclose(alone[0]["scores"], output["scores"], atol=1e-5)


def test_images_are_normalized_as_by_the_detectors():
    images = batch()
    detector = Trainer.build_model(toy.network_config()).preprocess_image(images)
    ours = fixed().preprocess_image(images)
    assert torch.equal(ours.tensor, detector.tensor)


def test_a_body_with_several_outputs_is_refused():
    with pytest.raises(ValueError, match=r"has 2: res4, res5.*build_supernet_backbone"):
        fixed({"MODEL.RESNETS.OUT_FEATURES": ["res4", "res5"]})


@pytest.mark.parametrize("depth", [34, 50])
def test_residual_blocks_may_begin_as_the_identity(depth):
    norms = []
    for zero in (True, False):
        overrides = {"MODEL.CLASSIFIER.ZERO_INIT_RESIDUAL": zero, "MODEL.RESNETS.DEPTH": depth}
        block = fixed(overrides).backbone.res3[1].eval()
        features = torch.rand(1, block.in_channels, 8, 8)
        norms.append((block(features) - features).norm().item())
    assert norms[0] == 0 < norms[1]


@pytest.mark.parametrize("family", [*toy.RESNETS, "mobilenetv2"])
def test_every_residual_block_of_any_family_begins_as_its_shortcut(family):
    is_resnet = family in toy.RESNETS
    body = toy.RESNETS[family] if is_resnet else {"MODEL.SUPERNET.FAMILY": family}
    overrides = {
        **body,
        "MODEL.GENOTYPE.DEPTHS": [],
        "MODEL.MOBILENETV2.WIDTH_MULT": 0.1,
        "MODEL.MOBILENETV2.OUT_FEATURES": ["res5"],
        "MODEL.CLASSIFIER.ZERO_INIT_RESIDUAL": True,
    }
    backbone = fixed(overrides).backbone.eval()
    blocks = [m for m in backbone.modules() if isinstance(m, CNNBlockBase)]
    residual = [b for b in blocks if getattr(b, "is_residual", hasattr(b, "shortcut"))]
    assert len(residual) > 8
    for block in residual:
        x = torch.rand(1, block.in_channels, 8, 8)
        shortcut = getattr(block, "shortcut", None)
        assert torch.equal(block(x), x if shortcut is None else shortcut(x).relu())


def test_a_body_without_residual_blocks_cannot_begin_as_the_identity():
    overrides = {
        "MODEL.SUPERNET.FAMILY": "shufflenetv2",
        "MODEL.SHUFFLENETV2.CHANNELS": [4, 8, 12, 16, 20],
        "MODEL.SHUFFLENETV2.OUT_FEATURES": ["head"],
    }
    fixed({**overrides, "MODEL.CLASSIFIER.ZERO_INIT_RESIDUAL": False})
    with pytest.raises(ValueError, match="ZERO_INIT_RESIDUAL is True, but the body has no residu"):
        fixed({**overrides, "MODEL.CLASSIFIER.ZERO_INIT_RESIDUAL": True})


def test_a_neck_is_refused():
    overrides = {
        "MODEL.BACKBONE.NAME": "build_supernet_fpn_backbone",
        "MODEL.RESNETS.OUT_FEATURES": ["res2", "res3", "res4", "res5"],
    }
    with pytest.raises(ValueError, match=r"has 5: p2.*p6"):
        fixed(overrides)


def test_every_path_of_a_supernet_classifies_and_can_be_calibrated():
    model = classifier().eval()
    calibration = [batch(), batch(2)]
    before = copy.deepcopy(model.state_dict())
    seen = []
    for path in PATHS[:2]:
        find_supernet(model).set_path(path)
        plain = model(batch())[0]["scores"]
        with calibrated(model, calibration), torch.no_grad():
            seen.append(model(batch())[0]["scores"])
        assert not torch.equal(seen[-1], plain)
    assert not torch.equal(*seen)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
