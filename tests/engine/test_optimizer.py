import pytest
import torch
import toy
from detectron2 import solver

from crnas_d2.engine.solver import build_optimizer

CLIP = {"SOLVER.CLIP_GRADIENTS.CLIP_VALUE": 0.01, "SOLVER.MOMENTUM": 0.9}


def config(kind):
    enabled = {"SOLVER.CLIP_GRADIENTS.ENABLED": kind is not None}
    return toy.network_config(CLIP, enabled, {"SOLVER.CLIP_GRADIENTS.CLIP_TYPE": kind or "norm"})


def two_layers():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))


def train(model, optimizer, parts, steps=3):
    for _ in range(steps):
        optimizer.zero_grad()
        for part in parts(model):
            part(torch.ones(2, part.in_features)).square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize("kind", [None, "value", "norm"])
def test_where_everything_has_a_gradient_it_is_detectron2s_optimizer(kind):
    ours, theirs, start = two_layers(), two_layers(), two_layers()
    train(ours, build_optimizer(config(kind), ours), list)
    train(theirs, solver.build_optimizer(config(kind), theirs), list)
    for name, value in ours.state_dict().items():
        assert torch.equal(value, theirs.state_dict()[name])
        assert not torch.equal(value, start.state_dict()[name])


@pytest.mark.parametrize("kind", [None, "value", "norm"])
def test_parameters_without_a_gradient_stay(kind):
    model, start = two_layers(), two_layers()
    train(model, build_optimizer(config(kind), model), lambda model: [model[0]])
    for name, value in model.state_dict().items():
        assert torch.equal(value, start.state_dict()[name]) == name.startswith("1.")


def test_gradients_are_clipped():
    steps = {}
    for kind in (None, "value", "norm"):
        model = two_layers()
        before = model[0].weight.detach().clone()
        train(model, build_optimizer(config(kind), model), list, steps=1)
        steps[kind] = (model[0].weight - before).norm().item()
    for kind in ("value", "norm"):
        assert 0 < steps[kind] < 0.1 * steps[None]


def test_an_unknown_kind_of_clipping_is_refused():
    with pytest.raises(ValueError, match="nrom"):
        build_optimizer(config("nrom"), two_layers())
