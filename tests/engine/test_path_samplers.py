from collections import Counter

import pytest
import toy

from crnas_d2.engine import FairPathSampler, Trainer, UniformPathSampler
from crnas_d2.modeling.families import ResNetFamily
from crnas_d2.modeling.spaces import StageKind
from crnas_d2.space import Genotype


def stage_space(*options):
    return StageKind(options).build_space(ResNetFamily(), Genotype())


SPACE = stage_space()
GOLDEN = [(6, 8, 14, 11), (10, 8, 23, 11), (6, 9, 2, 13), (3, 1, 6, 13)]


def test_a_sample_depends_on_seed_and_iteration_alone():
    sampler, other = UniformPathSampler(SPACE, seed=3), UniformPathSampler(SPACE, seed=3)
    in_order = [sampler(iteration) for iteration in range(20)]
    backwards = [other(iteration) for iteration in reversed(range(20))]
    assert in_order == backwards[::-1]
    assert in_order[7:] == [sampler(iteration) for iteration in range(7, 20)]
    assert in_order != [UniformPathSampler(SPACE, seed=4)(i) for i in range(20)]


def test_the_first_samples_stay_what_they_are():
    # A change here would make a resumed training another one.
    sampler = UniformPathSampler(SPACE, seed=0)
    assert [sampler(iteration).depths for iteration in range(4)] == GOLDEN


def test_every_option_is_sampled_equally_often():
    draws = 5000
    sampler = UniformPathSampler(SPACE, seed=0)
    values = [SPACE.values(sampler(iteration)) for iteration in range(draws)]
    for choice in SPACE.choices:
        counts = Counter(value[choice.name] for value in values)
        assert set(counts) == set(choice.options)
        expected = draws / len(choice.options)
        chi_square = sum((count - expected) ** 2 / expected for count in counts.values())
        assert chi_square < 27.9  # 9 degrees of freedom: 0.1 %


def test_choices_are_sampled_independently():
    space = stage_space((1, 2), (1, 2), (2, 3), (2, 3))
    draws = 4000
    sampler = UniformPathSampler(space, seed=1)
    counts = Counter(sampler(iteration) for iteration in range(draws))
    expected = draws / 16
    assert sum((counts[g] - expected) ** 2 / expected for g in space) < 37.7  # 15 d.o.f.: 0.1 %


def test_fair_samples_have_every_option_once_per_cycle():
    space = stage_space((1, 2, 3), (1, 2, 3), (2, 3), (2, 3))
    sampler = FairPathSampler(space, seed=0)
    for cycle in range(20):
        values = [space.values(sampler(6 * cycle + step)) for step in range(6)]
        for choice in space.choices:
            counts = Counter(value[choice.name] for value in values)
            assert counts == {option: 6 // len(choice.options) for option in choice.options}
            first = {value[choice.name] for value in values[: len(choice.options)]}
            assert first == set(choice.options)
    assert [sampler(i) for i in range(9)] == [FairPathSampler(space, seed=0)(i) for i in range(9)]


def test_fair_samples_of_two_choices_meet_in_all_pairs():
    space = stage_space((1, 2), (1, 2), (2, 3), (2, 3))
    sampler = FairPathSampler(space, seed=0)
    counts = Counter(sampler(iteration) for iteration in range(4000))
    # Steps come in pairs, where one path says what the other one is: 8 kinds of 2,000 pairs.
    pairs = [counts[g] for g in space]
    assert sum((count - 250) ** 2 / 250 for count in pairs) / 2 < 24.3  # 7 d.o.f.: 0.1 %


@pytest.mark.parametrize("name, kind", [("uniform", UniformPathSampler), ("fair", FairPathSampler)])
def test_the_config_names_the_sampler_of_a_training(name, kind, toy_datasets, tmp_path):
    folder = {"OUTPUT_DIR": str(tmp_path), "SOLVER.MAX_ITER": 3}
    cfg = toy.supernet_config(toy_datasets, folder, {"MODEL.SUPERNET.PATH_SAMPLER": name})
    trainer = Trainer(cfg)
    paths = []
    supernet = trainer.model.backbone.bottom_up.supernet
    expected = kind(supernet.space, seed=max(cfg.SEED, 0))
    set_path = supernet.set_path
    supernet.set_path = lambda genotype: (paths.append(genotype), set_path(genotype))
    trainer.train()
    assert paths == [expected(iteration) for iteration in range(3)]
