import pytest

from crnas_d2.search import sample_genotypes, sample_over_cost
from crnas_d2.space import AdditiveCost, Budget, Choice, SearchSpace

# 6 ** 3 genotypes of 3 to 18 blocks, most of them in the middle.
DEPTHS = tuple(range(1, 7))
SPACE = SearchSpace("stage", tuple(Choice(f"res{s}", DEPTHS, field="depths") for s in (2, 3, 4)))
BLOCKS = AdditiveCost("BLOCKS", "blocks", SPACE, {n: {k: k for k in DEPTHS} for n in SPACE.names})


def test_samples_over_a_cost_span_its_range():
    chosen = sample_over_cost(SPACE, (), BLOCKS, 5, seed=0)
    assert chosen == sample_over_cost(SPACE, (), BLOCKS, 5, seed=0)
    assert chosen != sample_over_cost(SPACE, (), BLOCKS, 5, seed=1)
    assert len(set(chosen)) == 5
    # One in each fifth of 3 to 18 blocks; of uniform samples, most have 9 to 12.
    fifths = [min(int((BLOCKS(genotype) - 3) / 3), 4) for genotype in chosen]
    assert fifths == [0, 1, 2, 3, 4]


def test_samples_over_a_cost_satisfy_the_budget_and_fill_up_with_others():
    budget = Budget(BLOCKS, 4, 5)
    chosen = sample_over_cost(SPACE, (budget,), BLOCKS, 8, seed=0)  # 3 and 6 with 4 and 5 blocks
    assert len(set(chosen)) == 8 and {BLOCKS(g) for g in chosen} == {4, 5}
    one_cost = sample_over_cost(SPACE, (budget,), lambda genotype: 1.0, 4, seed=0)
    assert len(set(one_cost)) == 4


def test_more_random_samples_add_to_the_first_ones():
    few, many = (sample_genotypes(SPACE, (), number, seed=3) for number in (4, 9))
    assert many[:4] == few and len(set(many)) == 9


@pytest.mark.parametrize("sample", [sample_genotypes, sample_over_cost])
def test_more_networks_than_there_are(sample, monkeypatch):
    monkeypatch.setattr("crnas_d2.search.sampling._MOST_SAMPLES", 3_000)
    monkeypatch.setattr("crnas_d2.search.sampling._PATIENCE", 1_000)
    arguments = {"cost": BLOCKS} if sample is sample_over_cost else {}
    with pytest.raises(ValueError, match=r"gave only 3 genotypes that satisfy .*, not 4"):
        sample(SPACE, (Budget(BLOCKS, 4, 4),), **arguments, number=4, seed=0)
