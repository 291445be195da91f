"""A supernet on a path is the fixed network: for each family, each space of paths, each sharing."""

import copy
from random import Random

import pytest
import torch
import toy

from crnas_d2.checkpoint import TrainingCheckpointer, fixed_names, subnet_state_dict
from crnas_d2.config import NetworkSpec
from crnas_d2.cost import MACs, Parameters, body_cost
from crnas_d2.modeling import SinglePathSupernet, build_body, find_supernet
from crnas_d2.space import FAMILY_REGISTRY, Genotype

SIZE = (64, 96)
SMALL = {
    **{name: ("resnet", shape) for name, shape in toy.RESNETS.items()},
    **{name: (name, shape) for name, shape in toy.SMALL_BODIES.items()},
}
# Numbers of blocks of which some stages have one, two and three.
OPTIONS = {
    "mobilenetv2": [[1], [1], [1, 2], [2], [1, 3], [2], [1, 2], [1], [1], [1]],
    "resnets": [[1, 2], [2], [2, 1, 3], [2, 3]],
}
DEPTHS = {"mobilenetv2": [1, 1, 2, 1, 1, 1, 1, 1, 1, 1], "resnets": [1, 2, 1, 2]}
SHARINGS = {
    "stage": ("none", "prefix"),
    "operation": ("none", "weight"),
    "joint": ("none", "prefix", "weight", "prefix+weight"),
}
RESNETS = [(body, space) for body in toy.RESNETS for space in ("stage", "operation")]
SPACES = [*RESNETS, ("basic", "joint"), *(("mobilenetv2", space) for space in SHARINGS)]
CASES = [(*case, sharing) for case in SPACES for sharing in SHARINGS[case[1]]]
CASES.append(("shufflenetv2", "operation", "none"))
each_case = pytest.mark.parametrize(("body", "space", "sharing"), CASES)


def config(body, *overrides):
    family, shape = SMALL[body]
    return toy.body_config(family, shape, *overrides)


def supernet_config(body, space, sharing, *overrides):
    settings = {"MODEL.SUPERNET.SPACE": space, "MODEL.SUPERNET.SHARING": sharing}
    if space == "operation":
        settings["MODEL.GENOTYPE.DEPTHS"] = DEPTHS.get(body, DEPTHS["resnets"])
    else:
        settings["MODEL.SUPERNET.STAGE_OPTIONS"] = OPTIONS.get(body, OPTIONS["resnets"])
    return config(body, settings, *overrides)


def fixed_config(body, genotype, *overrides):
    fields = {f"MODEL.GENOTYPE.{key}": value for key, value in genotype.to_config().items()}
    return config(body, fields, *overrides)


def build(cfg):
    return build_body(NetworkSpec.from_config(cfg))


def sample(space, number):
    """Different networks."""
    random, found = Random(1), []
    while len(found) < number:
        genotype = space.sample(random)
        found += [] if genotype in found else [genotype]
    return found


def opposites(space):
    """Two networks that differ in every choice that both of them make."""
    varied = {choice.name for choice in space.choices if len(choice.options) > 1}
    first, random = space.sample(Random(1)), Random(2)
    while True:
        second = space.sample(random)
        ours, others = space.values(first), space.values(second)
        if all(ours[name] != others[name] for name in varied & ours.keys() & others.keys()):
            return first, second


def home(name, body, space, sharing, genotype):
    """Where the supernet keeps a tensor of the fixed network of a genotype."""
    family = FAMILY_REGISTRY.get(SMALL[body][0])
    stage, block, *rest = name.split(".")
    if stage in ("stem", "tail"):
        return name
    index = family.stages.index(stage)
    place = block
    if space != "operation" and len(OPTIONS.get(body, OPTIONS["resnets"])[index]) > 1:
        depth = "blocks" if "prefix" in sharing else f"branches.{genotype.depths[index]}"
        place = f"0.{depth}.{block}"
    if space != "stage":
        op = genotype.ops_of_stages()[index][int(block)]
        place += ".block" if "weight" in sharing else f".candidates.{op}"
    return ".".join([stage, place, *rest])


@each_case
def test_a_path_is_the_fixed_network_and_nothing_else_changes(body, space, sharing):
    supernet = build(supernet_config(body, space, sharing))
    toy.randomize_norms(supernet)
    assert isinstance(find_supernet(supernet), SinglePathSupernet)
    names, buffers = fixed_names(supernet), {name for name, _ in supernet.named_buffers()}
    outputs = []
    for genotype in opposites(supernet.supernet.space):
        fixed = build(fixed_config(body, genotype))
        assert find_supernet(fixed) is None and type(fixed) is type(supernet)
        before = copy.deepcopy(supernet.state_dict())
        weights = subnet_state_dict(supernet, genotype)
        assert supernet.supernet.path == genotype
        fixed.load_state_dict(copy.deepcopy(weights))
        for training in (False, True):
            expected = fixed.train(training)(toy.images())
            ours = supernet.train(training)(toy.images())
            assert list(ours) == list(expected) == ["res2", "res3", "res4", "res5"]
            for name, value in expected.items():
                assert torch.equal(ours[name], value), name
        homes = {name: home(name, body, space, sharing, genotype) for name in weights}
        state = supernet.state_dict()
        for name, value in fixed.state_dict().items():  # BN statistics move in training
            assert torch.equal(value, weights[name]), name
            assert weights[name].data_ptr() == state[homes[name]].data_ptr(), name
            assert names[homes[name]] == name
        for name, value in state.items():  # ... those on the path and no others
            moved = name in buffers and name in homes.values()
            assert torch.equal(value, before[name]) == (not moved), name
        supernet.zero_grad(set_to_none=True)
        sum(output.sum() for output in ours.values()).backward()
        reached = {name for name, p in supernet.named_parameters() if p.grad is not None}
        assert reached == {homes[name] for name, _ in fixed.named_parameters()}
        outputs.append(ours["res5"])
    assert not torch.equal(*outputs)


@each_case
def test_costs_are_those_of_the_networks_that_are_built(body, space, sharing):
    spec = NetworkSpec.from_config(supernet_config(body, space, sharing))
    macs, parameters = (cost.table(spec, SIZE) for cost in (MACs(), Parameters()))
    found = set()
    for genotype in sample(spec.space, 5):
        built = body_cost(NetworkSpec.from_config(fixed_config(body, genotype)), SIZE)
        assert (macs(genotype), parameters(genotype)) == (built.macs, built.parameters), genotype
        found.add(built)
    dilations_alone = space == "operation" and body != "shufflenetv2"  # which are free
    assert len(found) == 1 if dilations_alone else len(found) >= 4


@pytest.mark.parametrize(
    ("body", "space"), [("mobilenetv2", "joint"), ("shufflenetv2", "operation")]
)
def test_what_follows_the_last_output_is_free(body, space):
    short = {f"MODEL.{body.upper()}.OUT_FEATURES": ["res3"]}
    spec = NetworkSpec.from_config(supernet_config(body, space, "none", short))
    macs, parameters = (cost.table(spec, SIZE) for cost in (MACs(), Parameters()))
    for genotype in sample(spec.space, 2):
        built = body_cost(NetworkSpec.from_config(fixed_config(body, genotype, short)), SIZE)
        assert (macs(genotype), parameters(genotype)) == (built.macs, built.parameters)
    last = [name for name in macs.options if name.startswith(("c64.depth", "res4.0.op"))]
    assert {cost for name in last for cost in macs.options[name].values()} == {0}


# The operations of ShuffleNetV2 have weights of different shapes.
@pytest.mark.parametrize(("body", "space", "sharing"), CASES[:-1])
def test_published_weights_fill_every_replica(body, space, sharing, tmp_path):
    supernet = build(supernet_config(body, space, sharing))
    choices = supernet.supernet.space.choices
    depths = [max(choice.options) for choice in choices if choice.field == "depths"]
    deepest = Genotype(tuple(depths or DEPTHS.get(body, DEPTHS["resnets"])))
    fixed = build(fixed_config(body, deepest))
    toy.randomize_norms(fixed)
    torch.save(fixed.state_dict(), tmp_path / "published.pth")
    TrainingCheckpointer(supernet).load(str(tmp_path / "published.pth"))
    weights, names = fixed.state_dict(), fixed_names(supernet)
    assert set(names.values()) == set(weights)
    for name, value in supernet.state_dict().items():
        assert "num_batches" in name or torch.equal(value, weights[names[name]]), name
