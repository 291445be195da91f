"""Our own families, kinds, costs and searchers pass the checks for plug-ins; broken ones do not."""

import pytest
import torchvision
import toy

from crnas_d2.cost import Blocks, CountedCost, MACs, Parameters
from crnas_d2.engine import PATH_SAMPLER_REGISTRY
from crnas_d2.engine.path_samplers import PathSampler
from crnas_d2.engine.scores import EntropyScore
from crnas_d2.modeling.families import (
    DetNetFamily,
    EfficientNetLiteFamily,
    MobileNetV2Family,
    ResNetFamily,
    ShuffleNetV2Family,
)
from crnas_d2.modeling.spaces import ChannelKind, JointKind, OperationKind, StageKind
from crnas_d2.search import (
    EvolutionSearcher,
    ExhaustiveSearcher,
    GreedySearcher,
    OptunaSearcher,
    RandomSearcher,
    Searcher,
)
from crnas_d2.testing import (
    check_cost,
    check_family,
    check_kind,
    check_path_sampler,
    check_score,
    check_searcher,
)

FAMILIES = {
    "resnet": ResNetFamily(18, res2_out_channels=64),
    "resnext": ResNetFamily(
        50, stem_out_channels=4, res2_out_channels=16, num_groups=2, width_per_group=4
    ),
    "detnet": DetNetFamily(50, stem_out_channels=4, res2_out_channels=16, width_per_group=4),
    "mobilenetv2": MobileNetV2Family(0.1),
    "efficientnet_lite": EfficientNetLiteFamily(),
    "shufflenetv2": ShuffleNetV2Family(channels=(4, 8, 12, 16, 24)),
}
STAGES = ((1, 2), (1, 2), (2, 3), (1,))
KINDS = {
    "stage": StageKind(STAGES),
    "operation": OperationKind(),
    "joint": JointKind(STAGES),
    "channel": ChannelKind(dilations=((1, 2),) * 3, num_groups=4),
}
SEARCHERS = {
    ExhaustiveSearcher: {"order_seed": 1},
    GreedySearcher: {"top_k": 2},
    EvolutionSearcher: {"population": 6, "generations": 3, "parents": 3},
    RandomSearcher: {"population": 6, "generations": 3},
    OptunaSearcher: {"population": 6, "generations": 3},
}


@pytest.mark.parametrize("name", FAMILIES)
def test_our_families(name):
    published = {
        "resnet": torchvision.models.resnet18,
        "mobilenetv2": torchvision.models.mobilenet_v2,
    }
    check_family(FAMILIES[name], published[name]().state_dict() if name in published else ())


@pytest.mark.parametrize("name", KINDS)
def test_our_kinds(name):
    check_kind(KINDS[name], ResNetFamily(18, stem_out_channels=4, res2_out_channels=8))
    if name == "operation":
        check_kind(KINDS[name], ShuffleNetV2Family())


@pytest.mark.parametrize("cost", [Blocks, MACs, Parameters])
def test_our_costs(cost):
    check_cost(cost)


@pytest.mark.parametrize("searcher", SEARCHERS)
def test_our_searchers(searcher):
    check_searcher(searcher, **SEARCHERS[searcher])


@pytest.mark.parametrize("name", [name for name, _ in PATH_SAMPLER_REGISTRY])
def test_our_path_samplers(name):
    check_path_sampler(PATH_SAMPLER_REGISTRY.get(name))


def test_our_score_without_a_supernet():
    check_score(EntropyScore, toy.supernet_config({"SEARCH.COST_INPUT_SIZE": [64, 64]}))


class Forgetful(ExhaustiveSearcher):
    """Proposes again what has been evaluated."""

    def propose(self, candidates):
        return super().propose(list(candidates)[1:])


class Unfair(Searcher):
    """Ignores the budget."""

    def propose(self, candidates):
        return [g for g in self.space if g not in {c.genotype for c in candidates}]


class Impatient(ExhaustiveSearcher):
    """Keeps a state."""

    def propose(self, candidates):
        self.order = getattr(self, "order", len(candidates))
        return list(super().propose(candidates))[self.order :]


class NoIdentity(ResNetFamily):
    def make_identity(self, block):
        return True


class Depth(CountedCost):
    """Does not add up: it counts more when more has been counted."""

    name, unit, calls = "DEPTH", "blocks", 0

    def count(self, module, inputs, output):
        self.calls += 1
        return self.calls


class Drifting(PathSampler):
    calls = 0

    def __call__(self, iteration):
        self.calls += 1
        options = [
            choice.options[self.calls % len(choice.options)] for choice in self.space.choices
        ]
        return self.space.genotype(dict(zip(self.space.names, options, strict=True)))


@pytest.mark.parametrize(
    ("check", "words"),
    [
        (lambda: check_searcher(Forgetful), "Forgetful must not propose a genotype twice"),
        (lambda: check_searcher(Unfair), "Unfair must propose feasible genotypes only"),
        (lambda: check_searcher(Impatient), "Impatient must keep no state|Impatient.genotypes"),
        (lambda: check_family(NoIdentity(18)), "make_identity.. must make the block res2.1"),
        (lambda: check_cost(Depth), "Depth must add up over the blocks"),
        (lambda: check_path_sampler(Drifting), "must depend on the seed and the iteration alone"),
    ],
)
def test_a_broken_contract_is_a_sentence(check, words):
    with pytest.raises(AssertionError, match=words):
        check()
