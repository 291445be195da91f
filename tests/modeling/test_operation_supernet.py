"""The operation space of ResNets: a dilation per block (CR-NAS section 3.2.2)."""

import pytest
import toy
from detectron2.modeling import build_backbone
from detectron2.modeling.backbone.resnet import BasicBlock, BottleneckBlock
from torch import nn

from crnas_d2.layers import OperationChoice, SharedWeightChoice
from crnas_d2.space import Genotype

STAGES = ("res2", "res3", "res4", "res5")
DEPTHS = (1, 2, 1, 2)
PATHS = [Genotype(DEPTHS, (0, 1, 2, 0, 1, 2)), Genotype(DEPTHS, (2, 2, 0, 1, 0, 1))]


def supernet_config(*overrides):
    space = {"MODEL.SUPERNET.SPACE": "operation", "MODEL.GENOTYPE.DEPTHS": list(DEPTHS)}
    return toy.network_config(space, *overrides)


def fixed_config(genotype, *overrides):
    fields = {f"MODEL.GENOTYPE.{key}": value for key, value in genotype.to_config().items()}
    return toy.network_config(fields, *overrides)


@pytest.mark.parametrize("block", toy.RESNETS)
def test_the_dilation_sits_on_the_second_convolution_and_keeps_the_size(block):
    genotype = PATHS[0]
    dilated = build_backbone(fixed_config(genotype, toy.RESNETS[block])).bottom_up
    plain = build_backbone(fixed_config(Genotype(DEPTHS), toy.RESNETS[block])).bottom_up
    blocks = [block for stage in STAGES for block in getattr(dilated, stage)]
    expected_class = BasicBlock if block == "basic" else BottleneckBlock
    for module, op in zip(blocks, genotype.ops, strict=True):
        assert type(module) is expected_class
        for name, conv in module.named_children():
            if isinstance(conv, nn.Conv2d):
                dilation = op + 1 if name == "conv2" else 1
                assert conv.dilation == (dilation, dilation), name
    sizes = {name: value.shape for name, value in dilated(toy.images()).items()}
    assert sizes == {name: value.shape for name, value in plain(toy.images()).items()}
    shapes = {name: value.shape for name, value in dilated.state_dict().items()}
    assert shapes == {name: value.shape for name, value in plain.state_dict().items()}


def test_every_candidate_has_its_own_weights_unless_they_are_shared():
    own = build_backbone(supernet_config()).bottom_up
    shared = build_backbone(supernet_config({"MODEL.SUPERNET.SHARING": "weight"})).bottom_up
    for body, kind in ((own, OperationChoice), (shared, SharedWeightChoice)):
        assert all(isinstance(b, kind) for stage in STAGES for b in getattr(body, stage))

    def convolutions(body):
        return sum(isinstance(m, nn.Conv2d) for name, m in body.named_modules() if "conv2" in name)

    assert convolutions(own) == 3 * 6 and convolutions(shared) == 6


def test_the_space_starts_from_the_depths_that_another_search_has_found(tmp_path):
    Genotype(depths=(2, 1, 1, 2)).to_yaml(tmp_path / "genotype.yaml", family="resnet")
    config = tmp_path / "operation.yaml"
    config.write_text(
        f"_BASE_: [{toy.SEARCHED}, genotype.yaml]\n"
        "MODEL: {SUPERNET: {SPACE: operation, PATH_SAMPLER: uniform}}\n"
    )
    body = build_backbone(toy.load_config(str(config), toy.as_list(toy.TINY))).bottom_up
    assert [len(getattr(body, stage)) for stage in STAGES] == [2, 1, 1, 2]
    assert body.supernet.space.base == Genotype(depths=(2, 1, 1, 2))
