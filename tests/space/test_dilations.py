"""NATS's genotypes: the sets of the paper, sets of one's own, groups of channels."""

import pytest

from crnas_d2.space.dilations import (
    DILATION_SETS,
    channel_order,
    check_dilation_choice,
    num_channel_groups,
    parse_dilations,
)

# NATS section 4.3, in its notation.
PAPER = {
    "A": ([1, 3], [1, 3], [1, 3, 5]),
    "B": ([1, 2, 3], [1, 2, 3], [1, 2, 3, 4, 5]),
    "C": (
        [1, 2, 3, (1, 3), (3, 1)],
        [1, 2, 3, (1, 3), (3, 1)],
        [1, 2, 3, 4, 5, (1, 3), (3, 1), (1, 5), (5, 1)],
    ),
}


def test_sets_of_the_paper():
    assert list(DILATION_SETS) == list(PAPER)
    for name, stages in PAPER.items():
        expected = {f"res{3 + i}": parse_dilations(stage) for i, stage in enumerate(stages)}
        assert DILATION_SETS[name] == expected
        assert all((1, 1) in dilations for dilations in expected.values())


def test_a_set_of_ones_own():
    assert parse_dilations([2, [1, 3], (3, 1)]) == ((2, 2), (1, 3), (3, 1))
    assert (1, 1) not in parse_dilations([2, (1, 3)])


@pytest.mark.parametrize(
    "values, shown",
    [
        ([], "[]"),
        ("12", "'12'"),
        (3, "3"),
        ([1, 0], "with 0;"),
        ([1, (3, -1)], "(3, -1)"),
        ([1, (1, 2, 3)], "(1, 2, 3)"),
        ([1, 2.0], "2.0"),
        ([1, True], "True"),
        ([1, "3"], "'3'"),
        ([1, (1, "3")], "(1, '3')"),
        ([1, None], "None"),
    ],
)
def test_refuses_what_is_no_set_of_dilations(values, shown):
    with pytest.raises(ValueError, match="expected whole numbers of at least 1") as error:
        parse_dilations(values)
    assert shown in str(error.value)


def test_refuses_a_dilation_twice():
    with pytest.raises(ValueError, match=r"hold duplicates, \[\(2, 2\)\]; list each once"):
        parse_dilations([1, 2, (2, 2)])


def test_number_of_groups():
    assert num_channel_groups(256, num_groups=16) == 16
    assert num_channel_groups(256, channels_per_group=32) == 8
    # X101-32x4d with 32 channels per group (NATS Table 4), res3 to res5.
    widths = (256, 512, 1024)
    sizes = [num_channel_groups(width, channels_per_group=32, conv_groups=32) for width in widths]
    assert sizes == [8, 16, 32]


@pytest.mark.parametrize(
    "keywords, message",
    [
        ({}, "give one of them"),
        ({"num_groups": 4, "channels_per_group": 4}, "give one of them"),
        ({"num_groups": 5}, "num_groups is 5, .* 32 output channels; expected a divisor of 32"),
        ({"channels_per_group": 64}, "channels_per_group is 64, .* a divisor of 32"),
        ({"num_groups": 0}, "num_groups is 0, "),
        ({"num_groups": 2.0}, "num_groups is 2.0, "),
        (
            {"num_groups": 16, "conv_groups": 8},
            "a group of 2 channels cuts .* 8 groups of 4; expected a multiple of 4 channels",
        ),
    ],
)
def test_refuses_groups_that_do_not_fit(keywords, message):
    with pytest.raises(ValueError, match=message):
        num_channel_groups(32, **keywords)


@pytest.mark.parametrize(
    "choice, shown", [((), "[]"), ((0, 2), "with 2"), ((-1,), "with -1"), ((True,), "with True")]
)
def test_refuses_wrong_indices(choice, shown):
    with pytest.raises(ValueError, match=r"from 0 to 1 .* \[\(1, 1\), \(3, 3\)\]") as error:
        check_dilation_choice(choice, ((1, 1), (3, 3)))
    assert shown in str(error.value)
    check_dilation_choice((0, 1, 1), ((1, 1), (3, 3)))


def test_channels_are_ordered_by_dilation_then_number():
    assert channel_order((1, 0, 2, 0), 8) == (2, 3, 6, 7, 0, 1, 4, 5)
    assert channel_order((2, 2), 4) == (0, 1, 2, 3)
