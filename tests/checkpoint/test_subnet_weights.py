import pytest
import torch
import toy
from detectron2.layers import CNNBlockBase
from detectron2.modeling import build_model
from torch import nn

from crnas_d2.checkpoint import StrictCheckpointer, fixed_names, subnet_state_dict
from crnas_d2.layers import BranchDepthChoice, ChoiceBlock
from crnas_d2.modeling import find_supernet
from crnas_d2.space import Genotype


def randomize(model):
    generator = torch.Generator().manual_seed(2)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.2 + 0.1)


@pytest.mark.parametrize("sharing", ["none", "prefix"])
@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize("depths", [(1, 2, 3, 2), (2, 1, 2, 3)])
def test_a_fixed_network_with_the_subnets_weights_is_the_subnet(depths, block, sharing, tmp_path):
    shape = {"MODEL.SUPERNET.SHARING": sharing, **toy.RESNETS[block]}
    supernet = build_model(toy.supernet_config(shape))
    randomize(supernet)
    torch.save({"model": subnet_state_dict(supernet, Genotype(depths))}, tmp_path / "subnet.pth")
    assert find_supernet(supernet).path == Genotype(depths)

    fixed = build_model(toy.network_config(shape, {"MODEL.GENOTYPE.DEPTHS": list(depths)}))
    StrictCheckpointer(fixed).load(str(tmp_path / "subnet.pth"))
    images = torch.rand(2, 3, toy.SIZE, toy.SIZE)
    for training in (False, True):
        expected = supernet.train(training).backbone(images)
        for level, value in fixed.train(training).backbone(images).items():
            assert torch.equal(value, expected[level])


def test_a_genotype_outside_the_space_has_no_weights():
    supernet = build_model(toy.supernet_config())
    with pytest.raises(ValueError, match=r"7 is not an option of res5\.depth"):
        subnet_state_dict(supernet, Genotype((1, 1, 2, 7)))


class Operation(ChoiceBlock):
    """A choice inside a block: two convolutions, of which one runs."""

    def __init__(self):
        super().__init__(4, 4, 1, options=(0, 1))
        self.candidates = nn.ModuleList(nn.Conv2d(4, 4, 1, bias=False) for _ in range(2))

    def active_children(self):
        return [self.candidates[self.chosen]]

    def fixed_name(self, name):
        return 0, name.split(".", 2)[2]


class Block(CNNBlockBase):
    def __init__(self):
        super().__init__(4, 4, 1)
        self.conv = Operation()


def test_a_choice_inside_a_block_of_a_branch_is_resolved_too():
    choice = BranchDepthChoice({depth: [Block() for _ in range(depth)] for depth in (1, 2)})
    model = nn.ModuleDict({"res2": nn.Sequential(choice), "head": nn.Linear(4, 1, bias=False)})
    expected = {"head.weight": "head.weight"}
    for depth, index in [(1, 0), (2, 0), (2, 1)]:
        for operation in (0, 1):
            name = f"res2.0.branches.{depth}.{index}.conv.candidates.{operation}.weight"
            expected[name] = f"res2.{index}.conv.weight"
    assert fixed_names(model) == expected


def test_in_a_network_without_choices_every_tensor_stands_for_itself():
    names = fixed_names(build_model(toy.network_config()))
    assert names and all(name == fixed for name, fixed in names.items())
