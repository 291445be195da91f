"""The joint space: depths and operations at once, the second where the first include a block."""

from random import Random

import pytest
import torch
import toy
from detectron2.modeling import build_model

from crnas_d2.checkpoint import StrictCheckpointer, subnet_state_dict
from crnas_d2.config import NetworkSpec
from crnas_d2.cost import MACs, Parameters, body_cost
from crnas_d2.modeling import find_supernet
from crnas_d2.modeling.families import ShuffleNetV2Family
from crnas_d2.modeling.spaces import JointKind
from crnas_d2.space import Genotype

SIZE = (64, 96)
SPACE = {
    "MODEL.SUPERNET.SPACE": "joint",
    "MODEL.SUPERNET.STAGE_OPTIONS": [[1, 2], [2], [2, 1, 3], [2, 3]],
}
PATH = Genotype((1, 2, 3, 2), (2, 0, 1, 0, 1, 2, 1, 0))


def supernet():
    return find_supernet(toy.build_body("resnet", SPACE))


class DeepShuffleNetV2(ShuffleNetV2Family):
    """With depths to choose from; its operations differ in cost, unlike dilations."""

    name = "deep"
    stage_options = ((1, 2), (3, 1, 2), (2,), (1, 3))


@pytest.mark.parametrize("sharing", ["none", "prefix"])
def test_costs_tell_the_operations_of_each_block_apart(sharing):
    family = DeepShuffleNetV2(channels=[4, 8, 16, 24, 32])
    spec = NetworkSpec.build(family, kind=JointKind(), sharing=sharing)
    macs, parameters = (cost.table(spec, SIZE) for cost in (MACs(), Parameters()))
    random, found = Random(0), []
    for _ in range(12):
        genotype = spec.space.sample(random)
        built = body_cost(NetworkSpec.build(family, genotype=genotype), SIZE)
        assert (macs(genotype), parameters(genotype)) == (built.macs, built.parameters), genotype
        found.append(built.macs)
    assert len(set(found)) == 12
    assert macs.range[0] < min(found) and max(found) < macs.range[1]


def test_a_subnet_of_a_detector_is_loaded_strictly(tmp_path):
    fpn = {"MODEL.BACKBONE.NAME": "build_supernet_fpn_backbone"}
    sharing = {"MODEL.SUPERNET.SHARING": "prefix+weight"}
    detector = build_model(toy.body_config("resnet", SPACE, sharing, fpn)).eval()
    torch.save({"model": subnet_state_dict(detector, PATH)}, tmp_path / "subnet.pth")
    fields = {f"MODEL.GENOTYPE.{key}": value for key, value in PATH.to_config().items()}
    space = {"MODEL.SUPERNET.SPACE": "joint", "MODEL.SUPERNET.PATH_SAMPLER": "fixed"}
    fixed = build_model(toy.body_config("resnet", fields, fpn, space)).eval()
    StrictCheckpointer(fixed).load(str(tmp_path / "subnet.pth"))
    expected = fixed.backbone(toy.images())
    for level, value in detector.backbone(toy.images()).items():
        assert torch.equal(value, expected[level]), level


def test_the_space_has_an_operation_for_every_block_that_is_there():
    space = supernet().space
    assert space.size == (3 + 3**2) * 3**2 * (3 + 3**2 + 3**3) * (3**2 + 3**3)
    assert space.names[:4] == ("res2.depth", "res2.0.op", "res2.1.op", "res3.depth")
    random = Random(0)
    for _ in range(20):
        genotype = space.sample(random)
        space.validate(genotype)
        assert len(genotype.ops) == sum(genotype.depths)


def test_a_partial_genotype_decides_on_the_first_choices():
    space = supernet().space
    expected = {"res2.depth": 1, "res2.0.op": 2, "res3.depth": 2}
    assert space.values(Genotype((1, 2), (2,)), partial=True) == expected
    assert not space.is_complete(Genotype((1, 2), (2,)))
    assert space.is_complete(PATH)
    with pytest.raises(ValueError, match=r"decides on res3\.depth and leaves res2\.0\.op open"):
        space.validate(Genotype((1, 2)), partial=True)


@pytest.mark.parametrize(
    ("genotype", "words"),
    [
        (Genotype((1, 2, 3, 2), (0,) * 7), r"OPS is .*which has 7 values"),
        (Genotype((1, 2, 3, 2), (0,) * 9), r"OPS is .*which has 9 values.*has 8 choices"),
        (Genotype((1, 2, 3, 2)), r"has 8 choices \(.*res4\.2\.op, res5\.0\.op, res5\.1\.op\)"),
        (Genotype((1, 2, 3, 2), (0, 0, 3, 0, 0, 0, 0, 0)), r"3 is not an option of res3\.1\.op"),
        (Genotype((1, 2, 4, 2), (0,) * 9), r"4 is not an option of res4\.depth"),
    ],
    ids=["few", "many", "none", "operation", "depth"],
)
def test_a_path_outside_the_space_is_refused_and_the_old_one_stays(genotype, words):
    body = supernet()
    body.set_path(PATH)
    with pytest.raises(ValueError, match=words):
        body.set_path(genotype)
    assert body.path == PATH
