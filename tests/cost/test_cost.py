from random import Random

import pytest
import torch
import toy

from crnas_d2.config import NetworkSpec, load_config
from crnas_d2.cost import Cost, CostTable, body_cost, count_macs, count_parameters
from crnas_d2.modeling import SupernetResNet, build_supernet_backbone
from crnas_d2.space import Genotype, genotype_file

FASTER_RCNN = str(toy.ROOT / "configs" / "Base-RCNN-FPN.yaml")
SIZE = (64, 96)


@pytest.mark.parametrize("sharing", ["none", "prefix"])
@pytest.mark.parametrize("depth", [34, 50])
def test_the_table_gives_the_cost_of_the_network_that_is_built(sharing, depth):
    shape = {"MODEL.SUPERNET.SHARING": sharing, "MODEL.RESNETS.DEPTH": depth}
    cfg = toy.supernet_config(shape)
    table = CostTable(cfg, NetworkSpec.from_config(cfg).space, SIZE)
    costs = set()
    for depths in [(1, 1, 2, 2), (2, 1, 3, 2), (2, 2, 3, 3), (1, 2, 2, 3)]:
        fixed = {"MODEL.SUPERNET.PATH_SAMPLER": "fixed", "MODEL.GENOTYPE.DEPTHS": list(depths)}
        built = body_cost(toy.supernet_config(shape, fixed), SIZE)
        assert table(Genotype(depths=depths)) == built
        costs.add(built)
    assert len(costs) == 4


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
        ("stage", "none", {**MOBILENETV2, **STAGES}),
        ("operation", "none", {**MOBILENETV2, **SHORT}),
        ("operation", "none", SHUFFLENETV2),
    ],
    ids=["resnet", "prefix", "operation", "weight", "mobilenetv2", "short", "shufflenetv2"],
)
def test_budgets_of_the_table_equal_a_count_of_the_network_that_is_built(kind, sharing, shape):
    overrides = {**shape, "MODEL.SUPERNET.SPACE": kind, "MODEL.SUPERNET.SHARING": sharing}
    cfg = toy.network_config(overrides, {"MODEL.SUPERNET.PATH_SAMPLER": "uniform"})
    space = NetworkSpec.from_config(cfg).space
    table = CostTable(cfg, space, SIZE)
    macs, parameters = (
        table.budget(f"SEARCH.BUDGET.{name.upper()}", (0, 1), name)
        for name in ("macs", "parameters")
    )
    random = Random(0)
    for _ in range(3):
        genotype = space.complete(space.base, random)
        named = {f"MODEL.GENOTYPE.{key}": v for key, v in genotype.to_config().items()}
        fixed = {"MODEL.SUPERNET.PATH_SAMPLER": "fixed"}
        built = body_cost(toy.network_config(overrides, named, fixed), SIZE)
        assert table(genotype) == built
        chosen = tuple(space.values(genotype).values())
        assert (macs.cost(chosen), parameters.cost(chosen)) == (built.macs, built.parameters)
        assert type(macs.cost(chosen)) is int  # so that limits are met exactly


def test_the_table_takes_one_pass_for_each_option(monkeypatch):
    passes = []
    cfg = toy.supernet_config({"MODEL.SUPERNET.STAGE_OPTIONS": [[1, 2], [1], [2, 4, 5], [2]]})
    forward = SupernetResNet.forward
    monkeypatch.setattr(
        SupernetResNet, "forward", lambda self, x: passes.append(x) or forward(self, x)
    )
    CostTable(cfg, NetworkSpec.from_config(cfg).space, SIZE)
    assert len(passes) == 3


def test_the_published_networks_of_detnas_keep_within_300m():
    overrides = {"MODEL.SUPERNET.FAMILY": "shufflenetv2", "MODEL.SUPERNET.SPACE": "operation"}
    cfg = toy.network_config(overrides)
    space = NetworkSpec.from_config(cfg).space
    budget = CostTable(cfg, space, (224, 224)).budget("SEARCH.BUDGET.MACS", (0, 300e6), "macs")
    for neck, macs in {"FPN": 288_082_368, "RetinaNet": 291_205_824}.items():
        genotype = Genotype.from_yaml(genotype_file(f"DetNAS/DetNASNet-300M-{neck}"))
        assert budget.cost(genotype.ops) == macs and space.admits(genotype, [budget])
    assert budget.reach == (237_222_720, 365_472_576)
    assert space.share([budget]).value == pytest.approx(0.688656, abs=1e-6)


def test_macs_of_layers_written_out():
    conv = torch.nn.Conv2d(6, 8, 3, stride=2, padding=1, groups=2, bias=False)
    assert count_macs(conv, torch.zeros(1, 6, 10, 14)) == 5 * 7 * 8 * 3 * 9
    assert count_macs(torch.nn.Linear(5, 7), torch.zeros(3, 5)) == 3 * 5 * 7


def test_parameters_of_a_supernet_are_those_of_its_path():
    cfg = toy.supernet_config()
    supernet = build_supernet_backbone(cfg, toy.RGB)
    supernet.set_path(Genotype(depths=(2, 1, 3, 2)))
    fixed = {"MODEL.SUPERNET.PATH_SAMPLER": "fixed", "MODEL.GENOTYPE.DEPTHS": [2, 1, 3, 2]}
    network = build_supernet_backbone(toy.supernet_config(fixed), toy.RGB)
    assert count_parameters(supernet) == sum(p.numel() for p in network.parameters())
    assert count_parameters(supernet) < sum(p.numel() for p in supernet.parameters())


def test_parameters_of_a_resnet50_body():
    cfg = load_config(FASTER_RCNN, toy.as_list({"MODEL.RESNETS.DEPTH": 50}))
    # 25,557,032 of the classifier without its last layer of 2048 x 1000 weights and 1000 biases.
    assert body_cost(cfg, (64, 64)).parameters == 25_557_032 - 2048 * 1000 - 1000


def test_costs_add_up():
    a, b = Cost(macs=5, parameters=3), Cost(macs=2, parameters=1)
    assert a + b == Cost(7, 4) and a - b == Cost(3, 2)
