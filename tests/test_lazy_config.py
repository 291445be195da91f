"""The LazyConfig of examples: built, trained, saved and loaded as in Detectron2's own script."""

import itertools

import pytest
import torch
import toy
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import LazyCall as L
from detectron2.config import LazyConfig, instantiate
from detectron2.engine import SimpleTrainer
from detectron2.structures import Boxes, Instances

from crnas_d2 import Genotype, find_supernet
from crnas_d2.checkpoint import subnet_state_dict
from crnas_d2.engine import PathSampling, UniformPathSampler

EXAMPLE = toy.ROOT / "examples" / "lazy_retinanet.py"


@pytest.fixture
def cfg():
    return LazyConfig.load(str(EXAMPLE))


def batch():
    instances = Instances((64, 64))
    instances.gt_boxes = Boxes(torch.tensor([[4.0, 6.0, 30.0, 40.0]]))
    instances.gt_classes = torch.tensor([1])
    return [{"image": 255 * image, "instances": instances} for image in toy.images()]


def train(model, steps):
    """Trains each step on another path; by step, the depths that ran."""
    supernet = find_supernet(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)
    trainer = SimpleTrainer(model, itertools.repeat(batch()), optimizer)
    trainer.register_hooks([PathSampling(supernet, UniformPathSampler(supernet.space, seed=1))])
    paths = []
    run_step = trainer.run_step
    trainer.run_step = lambda: (run_step(), paths.append(supernet.path.depths))
    trainer.train(0, steps)
    return paths


def assert_same_features(model, other):
    expected = model.backbone(toy.images())
    for level, features in other.backbone(toy.images()).items():
        torch.testing.assert_close(features, expected[level], rtol=0, atol=0)


def test_a_supernet_is_built_trained_saved_and_loaded(cfg, tmp_path):
    model = instantiate(cfg.model)
    assert find_supernet(model).space.size == 3**4
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    paths = train(model, 2)
    assert len(set(paths)) == 2
    after = model.state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in after)
    DetectionCheckpointer(model, str(tmp_path)).save("model")

    other = instantiate(cfg.model)
    DetectionCheckpointer(other).load(str(tmp_path / "model.pth"))
    genotype = Genotype(depths=(1, 3, 2, 2))
    for network in (model.eval(), other.eval()):
        find_supernet(network).set_path(genotype)
    assert_same_features(model, other)


def test_one_network_takes_its_weights_from_the_supernet(cfg):
    supernet = instantiate(cfg.model)
    genotype = Genotype(depths=(1, 3, 2, 2))
    body = cfg.model.backbone.bottom_up
    del body.kind
    body.genotype = L(Genotype)(depths=[1, 3, 2, 2])
    body.sharing = "none"
    network = instantiate(cfg.model)
    assert find_supernet(network) is None
    network.load_state_dict(subnet_state_dict(supernet, genotype))
    assert_same_features(supernet.eval(), network.eval())
