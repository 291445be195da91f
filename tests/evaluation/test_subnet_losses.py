from contextlib import nullcontext

import pytest
import torch
import toy
from torch import nn

from crnas_d2.data import build_fixed_batches
from crnas_d2.engine import Trainer
from crnas_d2.evaluation.subnet_losses import subnet_losses
from crnas_d2.modeling import find_supernet
from crnas_d2.space import Genotype


class Detector(nn.Module):
    """Its losses are the mean of the images as they leave its layers, and a running mean."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.BatchNorm1d(1)
        self.head = nn.Sequential(nn.Dropout(0.9), nn.BatchNorm1d(1))
        self.running = 0.0

    def forward(self, batch):
        assert self.training and not self.backbone.training and self.head.training
        images = torch.tensor([[float(image)] for image in batch])
        self.running = (self.running + 1) / 2
        self.left_behind = True
        return {"box": self.head(self.backbone(images)).mean(), "running": self.running}


def test_losses_are_the_means_over_all_images_with_nothing_drawn_or_updated():
    model = Detector().eval()
    batches = [[1, 2, 3], [6]]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for _ in range(2):
        losses = subnet_losses(model, batches, nullcontext)
        assert losses["box"] == pytest.approx(12 / 4, rel=1e-4)  # not the mean of 2 and 6
        assert losses["running"] == pytest.approx((3 * 0.5 + 0.75) / 4)
        assert losses["loss"] == pytest.approx(losses["box"] + losses["running"])
    assert model.running == 0 and not hasattr(model, "left_behind")
    assert not any(module.training for module in model.modules())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("architecture", ["GeneralizedRCNN", "RetinaNet"])
def test_a_network_has_the_same_losses_whatever_was_scored_before(toy_datasets, architecture):
    torch.manual_seed(0)
    retina = {"MODEL.META_ARCHITECTURE": "RetinaNet", "MODEL.RETINANET.NUM_CLASSES": 2}
    retina |= {"MODEL.BACKBONE.NAME": "build_supernet_retinanet_fpn_backbone"}
    retina |= {"MODEL.ROI_HEADS.NUM_CLASSES": 2}
    cfg = toy.supernet_config(toy_datasets, retina if architecture == "RetinaNet" else {})
    model = Trainer.build_model(cfg).eval()
    batches = build_fixed_batches(cfg, cfg.DATASETS.ARCHVAL, with_annotations=True)
    state, found = torch.get_rng_state(), {}
    for depths in [(1, 1, 2, 2), (2, 1, 2, 3), (1, 1, 2, 2)]:
        find_supernet(model).set_path(Genotype(depths=depths))
        losses = subnet_losses(model, batches, nullcontext)
        assert found.setdefault(depths, losses) == losses
    first, second = found.values()
    number = 2 if architecture == "RetinaNet" else 4
    assert first["loss"] != second["loss"] and len(first) == number + 1
    assert torch.equal(torch.get_rng_state(), state)
