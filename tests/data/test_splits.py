import random
from collections import Counter

import pytest

from crnas_d2.data.annotations.splits import held_out_count, random_split, stratified_split

SPLITS = [random_split, stratified_split]


@pytest.fixture
def long_tail():
    """1,000 images; category k is in about 1 of 1.5^k."""
    generator = random.Random(3)
    return {
        image: {k for k in range(12) if generator.random() < 1.5**-k * 0.8} for image in range(1000)
    }


def deviation(labels, held_out):
    """Mean over the categories of how far their share is from the images' share, relative."""
    share = len(held_out) / len(labels)
    total = Counter(category for categories in labels.values() for category in categories)
    there = Counter(category for image in held_out for category in labels[image])
    return sum(abs(there[c] / total[c] - share) / share for c in total) / len(total)


@pytest.mark.parametrize("split", SPLITS)
def test_a_seed_stands_for_one_split(long_tail, split):
    reversed_order = dict(reversed(long_tail.items()))
    assert split(long_tail, 200, seed=5) == split(reversed_order, 200, seed=5)
    assert split(long_tail, 200, seed=5) != split(long_tail, 200, seed=6)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("count", [1, 37, 200, 999])
def test_the_size_is_exact(long_tail, split, count):
    held_out = split(long_tail, count, seed=0)
    assert len(held_out) == count and held_out <= long_tail.keys()


def test_stratification_divides_categories_better_than_chance(long_tail):
    stratified = [deviation(long_tail, stratified_split(long_tail, 100, s)) for s in range(5)]
    drawn = [deviation(long_tail, random_split(long_tail, 100, s)) for s in range(5)]
    assert max(stratified) < min(drawn) / 3


def test_a_rare_category_is_in_both_parts_in_proportion():
    labels = {image: {"common"} | ({"rare"} if image < 10 else set()) for image in range(500)}
    for seed in range(10):
        held_out = stratified_split(labels, 100, seed)
        assert sum("rare" in labels[image] for image in held_out) == 2


def test_images_without_objects_are_divided_too():
    labels = {image: {"thing"} if image < 50 else set() for image in range(100)}
    held_out = stratified_split(labels, 20, seed=0)
    assert sum(not labels[image] for image in held_out) == 10


@pytest.mark.parametrize(
    ("size", "count"), [(0.2, 18), (0.25, 22), (18, 18), (1, 1), (89, 89), (18.0, 18)]
)
def test_a_size_is_a_fraction_or_a_number(size, count):
    assert held_out_count(size, 90) == count


@pytest.mark.parametrize("size", [0, 0.001, -1, 1.5, 90, 5000, float("nan")])
def test_an_impossible_size_is_refused(size):
    with pytest.raises(ValueError, match=r"of 90 images cannot be held out; expected .* 1 to 89"):
        held_out_count(size, 90)
