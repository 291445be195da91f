"""The joint space: depths and operations at once, the second where the first include a block."""

import copy
from random import Random

import pytest
import torch
import toy
from detectron2.modeling import build_model

from crnas_d2.checkpoint import (
    StrictCheckpointer,
    TrainingCheckpointer,
    fixed_names,
    subnet_state_dict,
)
from crnas_d2.config import NetworkSpec
from crnas_d2.cost import MACs, Parameters, body_cost
from crnas_d2.modeling import build_body, find_supernet
from crnas_d2.modeling.families import ShuffleNetV2Family
from crnas_d2.modeling.spaces import JointKind
from crnas_d2.space import FAMILY_REGISTRY, Genotype

SIZE = (64, 96)
# By family, a space with stages of one, two and three options, and paths that differ in all stages.
SPACES = {
    "resnet": [[1, 2], [2], [2, 1, 3], [2, 3]],
    "mobilenetv2": [[1], [1], [1, 2], [2], [1, 3], [2], [1, 2], [1], [1], [1]],
}
SMALL = {"resnet": {}, "mobilenetv2": toy.SMALL_BODIES["mobilenetv2"]}
PATHS = {
    "resnet": [
        Genotype((1, 2, 3, 2), (2, 0, 1, 0, 1, 2, 1, 0)),
        Genotype((2, 2, 1, 3), (0, 1, 2, 2, 0, 1, 1, 2)),
    ],
    "mobilenetv2": [
        Genotype((1, 1, 1, 2, 3, 2, 1, 1, 1, 1), (0, 2, 1, 0, 1, 2, 0, 1, 0, 2, 1, 2, 0, 0)),
        Genotype((1, 1, 2, 2, 1, 2, 2, 1, 1, 1), (0, 1, 0, 2, 2, 1, 2, 0, 1, 1, 0, 1, 0, 0)),
    ],
}
# By value of SHARING, what comes before the name of a tensor inside of block i of a stage, given
# its depth and its operation, in a stage with a choice of depth and in one without.
HOMES = {
    "none": ("0.branches.{depth}.{i}.candidates.{op}", "{i}.candidates.{op}"),
    "prefix": ("0.blocks.{i}.candidates.{op}", "{i}.candidates.{op}"),
    "weight": ("0.branches.{depth}.{i}.block", "{i}.block"),
    "prefix+weight": ("0.blocks.{i}.block", "{i}.block"),
}
each_family = pytest.mark.parametrize("family", SPACES)
each_sharing = pytest.mark.parametrize("sharing", HOMES)


def supernet_config(family, sharing, *overrides):
    space = {
        "MODEL.SUPERNET.SPACE": "joint",
        "MODEL.SUPERNET.STAGE_OPTIONS": SPACES[family],
        "MODEL.SUPERNET.SHARING": sharing,
    }
    return toy.body_config(family, SMALL[family], space, *overrides)


def fixed_config(family, genotype, *overrides):
    fields = {f"MODEL.GENOTYPE.{key}": value for key, value in genotype.to_config().items()}
    return toy.body_config(family, SMALL[family], fields, *overrides)


def build(cfg):
    return build_body(NetworkSpec.from_config(cfg))


def randomized_supernet(family, sharing):
    body = build(supernet_config(family, sharing))
    toy.randomize_norms(body)
    return body


def supernet_name(name, family, genotype, sharing):
    """Where the supernet keeps the tensor ``name`` of the fixed network of ``genotype``."""
    stage, i, *rest = name.split(".")
    if stage in ("stem", "tail"):
        return name
    index = FAMILY_REGISTRY.get(family).stages.index(stage)
    home = HOMES[sharing][len(SPACES[family][index]) == 1]
    op = genotype.ops_of_stages()[index][int(i)]
    place = home.format(depth=genotype.depths[index], i=i, op=op)
    return ".".join([stage, place, *rest])


@each_sharing
@each_family
def test_a_path_equals_the_fixed_network_with_its_weights(family, sharing):
    supernet = randomized_supernet(family, sharing)
    outputs = []
    for genotype in PATHS[family]:
        weights = subnet_state_dict(supernet, genotype)
        fixed = build(fixed_config(family, genotype))
        assert find_supernet(fixed) is None and type(fixed) is type(supernet)
        fixed.load_state_dict(copy.deepcopy(weights))
        assert find_supernet(supernet).path == genotype
        for training in (False, True):
            expected = fixed.train(training)(toy.images())
            ours = supernet.train(training)(toy.images())
            assert list(ours) == list(expected) == ["res2", "res3", "res4", "res5"]
            for name, value in expected.items():
                assert torch.equal(ours[name], value), name
        for name, value in fixed.state_dict().items():  # BN statistics move in training
            assert torch.equal(value, weights[name]), name
        outputs.append(ours["res5"])
    assert not torch.equal(*outputs)


@each_sharing
@each_family
def test_nothing_off_the_path_gets_a_gradient_or_other_statistics(family, sharing):
    supernet, genotype = randomized_supernet(family, sharing), PATHS[family][0]
    before = copy.deepcopy(supernet.state_dict())
    find_supernet(supernet).set_path(genotype)
    sum(output.sum() for output in supernet(toy.images()).values()).backward()
    fixed = build(fixed_config(family, genotype))
    parameters, buffers = (
        {supernet_name(name, family, genotype, sharing) for name, _ in named}
        for named in (fixed.named_parameters(), fixed.named_buffers())
    )
    assert {n for n, p in supernet.named_parameters() if p.grad is not None} == parameters
    for name, value in supernet.state_dict().items():
        assert torch.equal(value, before[name]) == (name not in buffers), name


@each_sharing
@each_family
def test_costs_are_those_of_the_networks_that_are_built(family, sharing):
    spec = NetworkSpec.from_config(supernet_config(family, sharing))
    macs, parameters = (cost.table(spec, SIZE) for cost in (MACs(), Parameters()))
    random, found = Random(0), set()
    for genotype in (*PATHS[family], *(spec.space.sample(random) for _ in range(3))):
        built = body_cost(NetworkSpec.from_config(fixed_config(family, genotype)), SIZE)
        assert (macs(genotype), parameters(genotype)) == (built.macs, built.parameters), genotype
        found.add(built)
    assert len(found) >= 4


def test_what_follows_the_last_output_is_free():
    short = {"MODEL.MOBILENETV2.OUT_FEATURES": ["res3"]}
    spec = NetworkSpec.from_config(supernet_config("mobilenetv2", "none", short))
    macs, parameters = (cost.table(spec, SIZE) for cost in (MACs(), Parameters()))
    for genotype in PATHS["mobilenetv2"]:
        fixed = NetworkSpec.from_config(fixed_config("mobilenetv2", genotype, short))
        built = body_cost(fixed, SIZE)
        assert (macs(genotype), parameters(genotype)) == (built.macs, built.parameters)
    assert set(macs.options["c64.depth"].values()) == {0}


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


@each_sharing
@each_family
def test_published_weights_fill_every_replica(family, sharing, tmp_path):
    deepest = Genotype(tuple(max(options) for options in SPACES[family]))
    fixed = build(fixed_config(family, deepest))
    toy.randomize_norms(fixed)
    torch.save(fixed.state_dict(), tmp_path / "published.pth")
    supernet = build(supernet_config(family, sharing))
    TrainingCheckpointer(supernet).load(str(tmp_path / "published.pth"))
    weights, names = fixed.state_dict(), fixed_names(supernet)
    assert set(names.values()) == set(weights)
    for name, value in supernet.state_dict().items():
        assert "num_batches" in name or torch.equal(value, weights[names[name]]), name


def test_a_subnet_of_a_detector_is_loaded_strictly(tmp_path):
    fpn = {"MODEL.BACKBONE.NAME": "build_supernet_fpn_backbone"}
    genotype = PATHS["resnet"][0]
    detector = build_model(supernet_config("resnet", "prefix+weight", fpn)).eval()
    torch.save({"model": subnet_state_dict(detector, genotype)}, tmp_path / "subnet.pth")
    space = {"MODEL.SUPERNET.SPACE": "joint", "MODEL.SUPERNET.PATH_SAMPLER": "fixed"}
    fixed = build_model(fixed_config("resnet", genotype, fpn, space)).eval()
    StrictCheckpointer(fixed).load(str(tmp_path / "subnet.pth"))
    expected = fixed.backbone(toy.images())
    for level, value in detector.backbone(toy.images()).items():
        assert torch.equal(value, expected[level]), level


def test_the_space_has_an_operation_for_every_block_that_is_there():
    space = find_supernet(build(supernet_config("resnet", "none"))).space
    assert space.size == (3 + 3**2) * 3**2 * (3 + 3**2 + 3**3) * (3**2 + 3**3)
    assert space.names[:4] == ("res2.depth", "res2.0.op", "res2.1.op", "res3.depth")
    random = Random(0)
    for _ in range(20):
        genotype = space.sample(random)
        space.validate(genotype)
        assert len(genotype.ops) == sum(genotype.depths)


def test_a_partial_genotype_decides_on_the_first_choices():
    space = find_supernet(build(supernet_config("resnet", "none"))).space
    expected = {"res2.depth": 1, "res2.0.op": 2, "res3.depth": 2}
    assert space.values(Genotype((1, 2), (2,)), partial=True) == expected
    assert not space.is_complete(Genotype((1, 2), (2,)))
    assert space.is_complete(PATHS["resnet"][0])
    with pytest.raises(ValueError, match=r"decides on res3\.depth and leaves res2\.0\.op open"):
        space.validate(Genotype((1, 2)), partial=True)


@pytest.mark.parametrize(
    ("genotype", "words"),
    [
        (Genotype((1, 2, 3, 2), (0,) * 7), r"OPS is .*which has 7 values"),
        (Genotype((1, 2, 3, 2), (0,) * 9), r"OPS is .*which has 9 values.*has 8 choices"),
        (
            Genotype((1, 2, 3, 2)),
            r"has 8 choices \(.*res4\.2\.op, res5\.0\.op, res5\.1\.op\)",
        ),
        (Genotype((1, 2, 3, 2), (0, 0, 3, 0, 0, 0, 0, 0)), r"3 is not an option of res3\.1\.op"),
        (Genotype((1, 2, 4, 2), (0,) * 9), r"4 is not an option of res4\.depth"),
    ],
    ids=["few", "many", "none", "operation", "depth"],
)
def test_a_path_outside_the_space_is_refused_and_the_old_one_stays(genotype, words):
    supernet = find_supernet(build(supernet_config("resnet", "none")))
    supernet.set_path(PATHS["resnet"][0])
    with pytest.raises(ValueError, match=words):
        supernet.set_path(genotype)
    assert supernet.path == PATHS["resnet"][0]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"SUPERNET.SHARING": "suffix"}, r"'suffix'.*none.*prefix.*weight.*joint space"),
        ({"GENOTYPE.DEPTHS": [1, 2, 3, 2]}, r"GENOTYPE\.DEPTHS names one network.*'joint'"),
        ({"GENOTYPE.OPS": [0] * 8}, r"GENOTYPE\.OPS names one network.*'joint'"),
        (
            {"SUPERNET.PATH_SAMPLER": "fixed", "GENOTYPE.DEPTHS": [1, 2, 3, 2]},
            r"one network of the joint space, but MODEL\.GENOTYPE\.OPS is empty",
        ),
        (
            {
                "SUPERNET.PATH_SAMPLER": "fixed",
                "GENOTYPE.DEPTHS": [1, 2, 4, 2],
                "GENOTYPE.OPS": [0] * 9,
            },
            r"4 is not an option of res4\.depth; the joint space allows \[2, 1, 3\]",
        ),
        ({"RESNETS.NORM": "FrozenBN"}, "NORM is 'FrozenBN'"),
    ],
    ids=["sharing", "depths", "ops", "fixed", "outside", "norm"],
)
def test_settings_that_cannot_be_honoured_are_refused(overrides, words):
    overrides = {f"MODEL.{key}": value for key, value in overrides.items()}
    with pytest.raises(ValueError, match=words):
        build(supernet_config("resnet", "none", overrides))
