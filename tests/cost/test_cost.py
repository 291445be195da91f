import math
from functools import partial
from random import Random

import pytest
import torch
import toy
from detectron2.modeling import ResNet
from torch.nn import functional
from torchvision.ops import deform_conv2d, roi_align

from crnas_d2.config import NetworkSpec, load_config
from crnas_d2.cost import (
    CountedCost,
    MACs,
    NetworkCost,
    Parameters,
    body_cost,
    counting,
    register_macs,
)
from crnas_d2.cost.counted import most_expensive_path
from crnas_d2.cost.counting import count_macs, count_parameters
from crnas_d2.modeling import build_supernet_backbone, find_supernet
from crnas_d2.space import Budget, Genotype, feasible_fraction, genotype_file, is_feasible

FASTER_RCNN = str(toy.ROOT / "configs" / "Base-RCNN-FPN.yaml")
SIZE = (64, 96)


def tables(cfg, size=SIZE):
    """MACs and parameters of all networks of a supernet."""
    spec = NetworkSpec.from_config(cfg)
    return MACs().table(spec, size), Parameters().table(spec, size)


def cost_of(cfg, size=SIZE):
    return body_cost(NetworkSpec.from_config(cfg), size)


def fixed(depths):
    return {"MODEL.SUPERNET.PATH_SAMPLER": "fixed", "MODEL.GENOTYPE.DEPTHS": list(depths)}


@pytest.mark.parametrize("sharing", ["none", "prefix"])
@pytest.mark.parametrize("depth", [34, 50])
def test_the_table_gives_the_cost_of_the_network_that_is_built(sharing, depth):
    shape = {"MODEL.SUPERNET.SHARING": sharing, "MODEL.RESNETS.DEPTH": depth}
    macs, parameters = tables(toy.supernet_config(shape))
    costs = set()
    for depths in [(1, 1, 2, 2), (2, 1, 3, 2), (2, 2, 3, 3), (1, 2, 2, 3)]:
        costs.add(built := cost_of(toy.supernet_config(shape, fixed(depths))))
        assert NetworkCost(macs(Genotype(depths)), parameters(Genotype(depths))) == built
    assert len(costs) == 4


def test_two_specs_of_one_config_are_counted_once(monkeypatch):
    cfg, counted = toy.supernet_config({"MODEL.RESNETS.RES2_OUT_CHANNELS": 8}), []
    table = CountedCost.table
    monkeypatch.setattr(
        CountedCost, "table", lambda self, *of: counted.append(of) or table(self, *of)
    )
    one, same = (MACs().table(NetworkSpec.from_config(cfg), SIZE) for _ in range(2))
    assert one == same and len(counted) == 1
    MACs().table(NetworkSpec.from_config(cfg), (64, 64))
    assert len(counted) == 2


RESNET = {
    "MODEL.RESNETS.DEPTH": 50,
    "MODEL.SUPERNET.STAGE_OPTIONS": [[1, 3], [1, 2, 4], [2, 5], [3]],
}
MOBILENETV2 = {"MODEL.SUPERNET.FAMILY": "mobilenetv2", "MODEL.MOBILENETV2.WIDTH_MULT": 0.25}
STAGES = {
    "MODEL.SUPERNET.STAGE_OPTIONS": [
        *([1], [1], [1, 3], [2], [3, 4], [2, 3, 5], [2], [1], [1], [1]),
    ]
}
SHUFFLENETV2 = {
    "MODEL.SUPERNET.FAMILY": "shufflenetv2",
    "MODEL.SHUFFLENETV2.CHANNELS": [4, 8, 16, 24, 32],
    "MODEL.GENOTYPE.DEPTHS": [2, 1, 2, 3],
}
# What follows the last output is not built.
SHORT = {"MODEL.MOBILENETV2.OUT_FEATURES": ["res3"]}


@pytest.mark.parametrize(
    ("kind", "sharing", "shape"),
    [
        ("stage", "none", RESNET),
        ("stage", "prefix", {**RESNET, "MODEL.RESNETS.NUM_GROUPS": 2}),
        ("operation", "none", {**RESNET, "MODEL.GENOTYPE.DEPTHS": [1, 2, 2, 3]}),
        ("operation", "weight", {**RESNET, "MODEL.GENOTYPE.DEPTHS": [1, 2, 2, 3]}),
        ("joint", "none", RESNET),
        ("joint", "prefix+weight", RESNET),
        ("joint", "prefix", {**MOBILENETV2, **STAGES}),
        ("stage", "none", {**MOBILENETV2, **STAGES}),
        ("operation", "none", {**MOBILENETV2, **SHORT}),
        ("operation", "none", SHUFFLENETV2),
    ],
    ids=[
        *("resnet", "prefix", "operation", "weight", "joint", "shared joint"),
        *("joint mobilenetv2", "mobilenetv2", "short", "shufflenetv2"),
    ],
)
def test_costs_of_the_table_equal_a_count_of_the_network_that_is_built(kind, sharing, shape):
    overrides = {**shape, "MODEL.SUPERNET.SPACE": kind, "MODEL.SUPERNET.SHARING": sharing}
    cfg = toy.network_config(overrides, {"MODEL.SUPERNET.PATH_SAMPLER": "uniform"})
    space = NetworkSpec.from_config(cfg).space
    macs, parameters = tables(cfg)
    random = Random(0)
    for _ in range(3):
        genotype = space.sample(random)
        named = {f"MODEL.GENOTYPE.{key}": v for key, v in genotype.to_config().items()}
        built = cost_of(toy.network_config(overrides, fixed(()), named))
        assert NetworkCost(macs(genotype), parameters(genotype)) == built
        values = space.values(genotype)
        assert (macs.of(values), parameters.of(values)) == (built.macs, built.parameters)
        # So that limits are met exactly.
        assert type(macs(genotype)) is type(parameters(genotype)) is int


def test_the_table_takes_one_pass_for_each_option(monkeypatch):
    passes = []
    cfg = toy.supernet_config({"MODEL.SUPERNET.STAGE_OPTIONS": [[1, 2], [1], [2, 4, 5], [2]]})
    forward = ResNet.forward
    monkeypatch.setattr(ResNet, "forward", lambda self, x: passes.append(x) or forward(self, x))
    for cost in (MACs(), Parameters()):
        passes.clear()
        cost.table(NetworkSpec.from_config(cfg), SIZE)
        assert len(passes) == 3


def test_the_published_networks_of_detnas_keep_within_300m():
    overrides = {"MODEL.SUPERNET.FAMILY": "shufflenetv2", "MODEL.SUPERNET.SPACE": "operation"}
    cfg = toy.network_config(overrides)
    budget = Budget(tables(cfg, (224, 224))[0], 0, 300e6)
    for neck, macs in {"FPN": 288_082_368, "RetinaNet": 291_205_824}.items():
        genotype = Genotype.from_yaml(genotype_file(f"DetNAS/DetNASNet-300M-{neck}"))
        assert budget.cost(genotype) == macs and is_feasible(genotype, [budget])
    assert budget.cost.range == (237_222_720, 365_472_576)
    fraction = feasible_fraction(budget.cost.space, [budget])
    assert fraction.value == pytest.approx(0.688656, abs=1e-6)


def test_macs_of_layers_written_out():
    conv = torch.nn.Conv2d(6, 8, 3, stride=2, padding=1, groups=2, bias=False)
    assert count_macs(conv, torch.zeros(1, 6, 10, 14)) == 5 * 7 * 8 * 3 * 9
    assert count_macs(torch.nn.Linear(5, 7), torch.zeros(3, 5)) == 3 * 5 * 7


deform = torch.ops.torchvision.deform_conv2d
OPERATORS = {  # by name, a call and the shapes of its tensors
    "torchvision::deform_conv2d": (
        partial(deform_conv2d, padding=1),
        *((1, 4, 8, 9), (1, 18, 8, 9), (6, 4, 3, 3)),
    ),
    "toy::scaled": (lambda x: torch.ops.toy.scaled(x), (2, 3)),
    "aten::mv": (torch.mv, (4, 5), (5,)),
    "aten::dot": (torch.dot, (4,), (4,)),
    "aten::addmv": (torch.addmv, (4,), (4, 5), (5,)),
    "aten::addbmm": (torch.addbmm, (4, 6), (2, 4, 5), (2, 5, 6)),
    "aten::_euclidean_dist": (torch.cdist, (40, 2), (50, 2)),
    "aten::_trilinear": (functional.bilinear, (3, 4), (3, 5), (6, 4, 5)),
    "aten::_fft_r2c": (torch.fft.rfft2, (1, 8, 8)),
}


@pytest.fixture(scope="module")
def toy_operator():
    """An operator that is not PyTorch's, as plug-ins have them."""
    with torch.library._scoped_library("toy", "DEF") as library:
        library.define("scaled(Tensor x) -> Tensor")
        library.impl("scaled", lambda x: x.clone(), "CompositeExplicitAutograd")
        yield


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_whose_macs_are_not_known_is_named(name, toy_operator, monkeypatch):
    run, *shapes = OPERATORS[name]
    tensors = [torch.empty(shape, device="meta") for shape in shapes]
    with pytest.raises(ValueError, match=f"{name}'.*crnas_d2.cost.register_macs"):
        count_macs(run, *tensors)
    space, _, operator = name.partition("::")
    monkeypatch.setattr(counting, "_FORMULAS", {})
    register_macs(getattr(getattr(torch.ops, space), operator))(lambda *shapes, **_: 7)
    assert count_macs(run, *tensors) == 7


def test_a_registered_formula_gets_shapes(monkeypatch):
    monkeypatch.setattr(counting, "_FORMULAS", {})

    @register_macs(deform)
    def macs(image, weight, *_, out_shape, **__):
        return image[0] * math.prod(weight) * math.prod(out_shape[2:])

    run, *shapes = OPERATORS["torchvision::deform_conv2d"]
    tensors = [torch.empty(shape, device="meta") for shape in shapes]
    assert count_macs(run, *tensors) == 6 * 4 * 3 * 3 * 8 * 9


def test_a_body_with_an_unknown_operator_has_no_macs(monkeypatch):
    spec = NetworkSpec.from_config(toy.supernet_config({"MODEL.RESNETS.RES2_OUT_CHANNELS": 12}))
    monkeypatch.setattr(functional, "relu_", lambda x: x * torch.cdist(x, x).mean())
    for count in (body_cost, MACs().table):
        with pytest.raises(ValueError, match="_euclidean_dist"):
            count(spec, SIZE)


FREE = {
    "layer norm": (lambda x: functional.layer_norm(x, x.shape[1:]), (2, 3, 4, 4)),
    "group norm": (lambda x: functional.group_norm(x, 3), (2, 3, 4, 4)),
    "activations": (lambda x: functional.gelu(x).sigmoid().cummax(0)[0].lgamma(), (2, 3)),
    "resizing": (
        lambda x: functional.interpolate(x, scale_factor=2.0, mode="bilinear"),
        (1, 2, 4, 4),
    ),
    "pooling": (lambda x: functional.max_pool2d(x, 2) + x.mean(), (1, 2, 4, 4)),
    "ROIAlign": (lambda x, boxes: roi_align(x, boxes, 2), (1, 2, 4, 4), (1, 5)),
}


@pytest.mark.parametrize("name", FREE)
def test_what_does_not_multiply_matrices_is_free(name):
    run, *shapes = FREE[name]
    assert count_macs(run, *(torch.zeros(shape) for shape in shapes)) == 0


def test_parameters_of_a_supernet_are_those_of_its_path():
    cfg = toy.supernet_config()
    supernet = build_supernet_backbone(cfg, toy.RGB)
    find_supernet(supernet).set_path(Genotype((2, 1, 3, 2)))
    network = build_supernet_backbone(toy.supernet_config(fixed((2, 1, 3, 2))), toy.RGB)
    assert count_parameters(supernet) == sum(p.numel() for p in network.parameters())
    assert count_parameters(supernet) < sum(p.numel() for p in supernet.parameters())


def test_parameters_of_a_resnet50_body():
    cfg = load_config(FASTER_RCNN, toy.as_list({"MODEL.RESNETS.DEPTH": 50}))
    # 25,557,032 of the classifier without its last layer of 2048 x 1000 weights and 1000 biases.
    assert cost_of(cfg, (64, 64)).parameters == 25_557_032 - 2048 * 1000 - 1000


def test_costs_add_up():
    a, b = NetworkCost(macs=5, parameters=3), NetworkCost(macs=2, parameters=1)
    assert a + b == NetworkCost(7, 4) and a - b == NetworkCost(3, 2)


SPACES = {
    "stage": {},
    "prefix": {"MODEL.SUPERNET.SHARING": "prefix"},
    # The costliest option is neither the last one nor, in every block, the same.
    "operation": {
        "MODEL.SUPERNET.SPACE": "operation",
        "MODEL.SUPERNET.FAMILY": "shufflenetv2",
        "MODEL.SHUFFLENETV2.CHANNELS": [4, 8, 16, 24, 32],
        "MODEL.SUPERNET.OPERATION_OPTIONS": [0, 2, 3],
        "MODEL.GENOTYPE.DEPTHS": [1, 1, 1, 2],
        "MODEL.SUPERNET.STAGE_OPTIONS": [],
    },
}


@pytest.mark.parametrize("name", SPACES)
def test_no_genotype_has_more_macs(name):
    spec = NetworkSpec.from_config(toy.supernet_config(SPACES[name]))
    path, macs = most_expensive_path(spec, SIZE)
    cost = MACs().table(spec, SIZE)
    costs = {genotype: cost(genotype) for genotype in spec.space}
    assert macs == costs[path] == max(costs.values()) > min(costs.values())


def test_the_deepest_network_is_the_most_expensive_one():
    path, _ = most_expensive_path(NetworkSpec.from_config(toy.supernet_config()), SIZE)
    assert path == Genotype(depths=(2, 2, 3, 3))
