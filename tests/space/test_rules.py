import pytest

from crnas_d2.modeling.families import ResNetFamily
from crnas_d2.modeling.spaces import JointKind, OperationKind, StageKind
from crnas_d2.space import AdditiveCost, Budget, Genotype, without_last_blocks


def blocks(space):
    """One for each block; 100 more for each pixel of the images."""
    amounts = {"depths": 1, "image_size": 100}
    options = {c.name: {o: o * amounts.get(c.field, 0) for o in c.options} for c in space.choices}
    return AdditiveCost("BLOCKS", "blocks", space, options, 0)


def rule(space, low, high):
    return without_last_blocks(space, [Budget(blocks(space), low, high)])


SPACE = StageKind([(1, 2), (1, 2, 3), (2, 4), (1,)]).build_space(ResNetFamily(), Genotype())


@pytest.mark.parametrize(
    ("most", "depths"),
    [
        (10, (2, 3, 4, 1)),
        (9, (2, 3, 2, 1)),  # a stage skips what is no option
        (7, (2, 2, 2, 1)),
        (6, (2, 1, 2, 1)),  # only then the first stage
        (5, (1, 1, 2, 1)),
    ],
)
def test_the_last_blocks_go_first(most, depths):
    assert rule(SPACE, 0, most).depths == depths
    assert rule(SPACE, most, most).depths == depths  # also where it ends below the lower limit


def test_a_budget_that_no_number_of_blocks_reaches_has_no_rule():
    assert rule(SPACE, 0, 4) is None


def test_each_cost_has_to_fit():
    twice = AdditiveCost("MACS", "MACs", SPACE, {
        c.name: {o: 2 * o for o in c.options} for c in SPACE.choices
    }, 0)  # fmt: skip
    budgets = [Budget(blocks(SPACE), 0, 9), Budget(twice, 0, 12)]
    assert without_last_blocks(SPACE, budgets).depths == (2, 1, 2, 1)


def test_operations_are_the_first_and_go_with_their_blocks():
    space = JointKind([(1, 2, 3)] * 4).build_space(ResNetFamily(), Genotype())
    found = rule(space, 0, 9)
    assert found == Genotype((3, 3, 2, 1), (0,) * 9)


def test_a_space_of_operations_alone_has_no_rule():
    space = OperationKind().build_space(ResNetFamily(), Genotype((1, 1, 1, 1)))
    assert without_last_blocks(space, []) is None


def test_images_stay_large():
    space = SPACE.with_image_sizes([100, 200])
    found = rule(space, 0, 20_009)
    assert (found.depths, found.image_size) == ((2, 3, 2, 1), (200,))
