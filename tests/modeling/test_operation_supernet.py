"""The operation space of ResNets: a dilation per block (CR-NAS section 3.2.2)."""

import pytest
import torch
import toy
from detectron2.modeling import build_backbone, build_model
from detectron2.modeling.backbone.resnet import BasicBlock, BottleneckBlock
from torch import nn

from crnas_d2.checkpoint import StrictCheckpointer, TrainingCheckpointer, subnet_state_dict
from crnas_d2.layers import OperationChoice, SharedWeightChoice
from crnas_d2.modeling import find_supernet
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


def images():
    return torch.rand(2, 3, toy.SIZE, toy.SIZE, generator=torch.Generator().manual_seed(0))


def randomize(model):
    generator = torch.Generator().manual_seed(2)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.2 + 0.1)


@pytest.mark.parametrize("sharing", ["none", "weight"])
@pytest.mark.parametrize("block", toy.RESNETS)
def test_a_path_equals_the_fixed_network_with_its_weights(block, sharing, tmp_path):
    shape = {"MODEL.SUPERNET.SHARING": sharing, **toy.RESNETS[block]}
    supernet = build_model(supernet_config(shape))
    randomize(supernet)
    for genotype in PATHS:
        weights = {"model": subnet_state_dict(supernet, genotype)}
        torch.save(weights, tmp_path / "subnet.pth")
        fixed = build_model(fixed_config(genotype, toy.RESNETS[block]))
        StrictCheckpointer(fixed).load(str(tmp_path / "subnet.pth"))
        for training in (False, True):
            expected = supernet.train(training).backbone(images())
            for level, value in fixed.train(training).backbone(images()).items():
                assert torch.equal(value, expected[level])


def test_the_two_paths_compute_different_things():
    body = build_backbone(supernet_config({"MODEL.SUPERNET.SHARING": "weight"})).bottom_up.eval()
    outputs = []
    for genotype in PATHS:
        body.supernet.set_path(genotype)
        outputs.append(body(images())["res5"])
    assert not torch.equal(*outputs)


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
    sizes = {name: value.shape for name, value in dilated(images()).items()}
    assert sizes == {name: value.shape for name, value in plain(images()).items()}
    shapes = {name: value.shape for name, value in dilated.state_dict().items()}
    assert shapes == {name: value.shape for name, value in plain.state_dict().items()}


def test_every_candidate_has_its_own_weights_unless_they_are_shared():
    own = build_backbone(supernet_config()).bottom_up
    shared = build_backbone(supernet_config({"MODEL.SUPERNET.SHARING": "weight"})).bottom_up
    assert all(isinstance(b, OperationChoice) for stage in STAGES for b in getattr(own, stage))
    assert all(
        isinstance(b, SharedWeightChoice) for stage in STAGES for b in getattr(shared, stage)
    )

    def convolutions(body):
        return sum(isinstance(m, nn.Conv2d) for name, m in body.named_modules() if "conv2" in name)

    assert convolutions(own) == 3 * 6 and convolutions(shared) == 6


def test_what_is_off_the_path_gets_no_gradient():
    model = build_backbone(supernet_config())
    find_supernet(model).set_path(PATHS[0])
    sum(level.sum() for level in model(images()).values()).backward()
    for name, parameter in model.bottom_up.named_parameters():
        stage, index, *rest = name.split(".")
        if stage == "stem":
            assert parameter.grad is not None
            continue
        op = PATHS[0].ops_of_stages()[STAGES.index(stage)][int(index)]
        assert (parameter.grad is not None) == (rest[:2] == ["candidates", str(op)]), name


@pytest.mark.parametrize("sharing", ["none", "weight"])
def test_published_weights_fill_every_candidate(tmp_path, sharing):
    fixed = build_model(fixed_config(Genotype(DEPTHS)))
    torch.save({"model": fixed.state_dict()}, tmp_path / "published.pth")
    supernet = build_model(supernet_config({"MODEL.SUPERNET.SHARING": sharing}))
    TrainingCheckpointer(supernet).load(str(tmp_path / "published.pth"))
    find_supernet(supernet).set_path(Genotype(DEPTHS, (0,) * 6))
    expected = fixed.eval().backbone(images())
    for level, value in supernet.eval().backbone(images()).items():
        assert torch.equal(value, expected[level])
    state, weights = supernet.state_dict(), fixed.state_dict()
    place = "candidates.2." if sharing == "none" else "block."
    name = "backbone.bottom_up.res3.1.{}conv2.weight"
    assert torch.equal(state[name.format(place)], weights[name.format("")])


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


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"MODEL.SUPERNET.SHARING": "prefix"}, r"'prefix'.*none.*weight.*operation space"),
        ({"MODEL.RESNETS.NORM": "FrozenBN"}, "NORM is 'FrozenBN'"),
        ({"MODEL.GENOTYPE.DEPTHS": [1, 2, 1]}, r"DEPTHS is \[1, 2, 1\].*4 stages"),
    ],
    ids=["sharing", "norm", "depths"],
)
def test_settings_that_cannot_be_honoured_are_refused(overrides, words):
    with pytest.raises(ValueError, match=words):
        build_backbone(supernet_config(overrides))
