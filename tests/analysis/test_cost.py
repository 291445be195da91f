import pytest
import torch
import toy

from crnas_d2.analysis import Cost, CostTable, body_cost, count_macs, count_parameters
from crnas_d2.engine import load_config
from crnas_d2.modeling import build_supernet_backbone
from crnas_d2.space import Genotype, build_search_space

FASTER_RCNN = str(toy.ROOT / "configs" / "Base-RCNN-FPN.yaml")
SIZE = (64, 96)


@pytest.mark.parametrize("sharing", ["none", "prefix"])
@pytest.mark.parametrize("depth", [34, 50])
def test_the_table_gives_the_cost_of_the_network_that_is_built(sharing, depth):
    shape = {"MODEL.SUPERNET.SHARING": sharing, "MODEL.RESNETS.DEPTH": depth}
    cfg = toy.supernet_config(shape)
    table = CostTable(cfg, build_search_space(cfg), SIZE)
    costs = set()
    for depths in [(1, 1, 2, 2), (2, 1, 3, 2), (2, 2, 3, 3), (1, 2, 2, 3)]:
        fixed = {"MODEL.SUPERNET.PATH_SAMPLER": "fixed", "MODEL.GENOTYPE.DEPTHS": list(depths)}
        built = body_cost(toy.supernet_config(shape, fixed), SIZE)
        assert table(Genotype(depths=depths)) == built
        costs.add(built)
    assert len(costs) == 4


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
