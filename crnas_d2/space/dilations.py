"""NATS's dilations (sections 3.2 to 3.4, 4.3), which the paper calls genotypes.

A dilation choice is what one convolution has: for each channel group, the index of its dilation.
"""

from collections.abc import Sequence

from crnas_d2.common.errors import invalid

Dilation = tuple[int, int]  # (height, width), in pixels of the convolution's input


def parse_dilations(values: Sequence[int | Sequence[int]]) -> tuple[Dilation, ...]:
    """Read a set of dilations in the paper's notation: ``[1, 2, (1, 3)]``.

    Pairs are (height, width); a number stands for the same dilation in both directions. Raise
    ValueError for an empty set, duplicates, and anything but whole numbers of at least 1.
    """
    expected = "whole numbers of at least 1 or pairs of them, as in [1, 2, [1, 3], [3, 1]]"
    if isinstance(values, str) or not isinstance(values, Sequence) or not values:
        raise ValueError(f"The dilations are {values!r}; expected {expected}.")
    pairs: list[Dilation] = []
    for value in values:
        pair = tuple(value) if isinstance(value, list | tuple) else (value, value)
        # bool is an int in Python, but "dilation True" is a mistake in a config.
        if len(pair) != 2 or not all(type(part) is int and part >= 1 for part in pair):
            raise ValueError(f"The dilations are {values!r}, with {value!r}; expected {expected}.")
        pairs.append((pair[0], pair[1]))
    twice = sorted({pair for pair in pairs if pairs.count(pair) > 1})
    if twice:
        raise ValueError(f"The dilations {values!r} hold duplicates, {twice}; list each once.")
    return tuple(pairs)


def multiply_dilations(
    values: Sequence[int | Sequence[int]], base: Dilation
) -> tuple[Dilation, ...]:
    """Multiply a set by the dilation of the base convolution, so that (1, 1) keeps it."""
    return tuple((height * base[0], width * base[1]) for height, width in parse_dilations(values))


_A, _A5 = parse_dilations((1, 3)), parse_dilations((1, 3, 5))
_B, _B5 = parse_dilations((1, 2, 3)), parse_dilations((1, 2, 3, 4, 5))
_C, _C5 = (*_B, (1, 3), (3, 1)), (*_B5, (1, 3), (3, 1), (1, 5), (5, 1))

# By name and stage: the sets of NATS's section 4.3 ("Influence of genotypes", Table 5). Its stages
# 3 to 5 are res3 to res5. Set C is the one of its other tables.
DILATION_SETS: dict[str, dict[str, tuple[Dilation, ...]]] = {
    "A": {"res3": _A, "res4": _A, "res5": _A5},
    "B": {"res3": _B, "res4": _B, "res5": _B5},
    "C": {"res3": _C, "res4": _C, "res5": _C5},
}


def num_channel_groups(
    channels: int,
    *,
    num_groups: int | None = None,
    channels_per_group: int | None = None,
    conv_groups: int = 1,
) -> int:
    """Return the number of channel groups of a convolution, each with its own dilation.

    Raise ValueError unless exactly one of the two settings is given and fits the convolution.

    Args:
        channels: output channels of the convolution.
        num_groups: a fixed number of groups (NATS Table 2: 1 to 32, best 16), or
        channels_per_group: a fixed size of the groups (NATS Table 3: 1 to 64 channels).
        conv_groups: groups of the convolution itself, as in ResNeXt. A channel group holds whole
            conv groups, because all outputs of a conv group read the same inputs.
    """
    given = {"num_groups": num_groups, "channels_per_group": channels_per_group}
    found = [(name, value) for name, value in given.items() if value is not None]
    if len(found) != 1:
        raise ValueError(f"The channel groups are {given}; give one of them, not both.")
    [(name, value)] = found
    if type(value) is not int or value < 1 or channels % value:
        but = f"the convolution has {channels} output channels"
        raise invalid(name, value, f"a divisor of {channels}", but=but)
    number = value if channels_per_group is None else channels // value
    size, conv_size = channels // number, channels // conv_groups
    if conv_groups > 1 and size % conv_size:
        own = f"{conv_groups} groups of {conv_size}"
        but = f"a group of {size} channels cuts the convolution's own {own}"
        expected = f"a multiple of {conv_size} channels per group, so at most {conv_groups} groups"
        raise invalid(name, value, expected, but=but)
    return number


def check_dilation_choice(choice: Sequence[int], dilations: Sequence[Dilation]) -> None:
    """Raise ValueError unless a choice has, for each channel group, an index into ``dilations``."""
    wrong = [index for index in choice if type(index) is not int or not 0 <= index < len(dilations)]
    if wrong or not choice:
        given = f"{list(choice)}{f', with {wrong[0]!r}' if wrong else ''}"
        raise ValueError(
            f"The dilation choice of a convolution is {given}; expected for each channel group an "
            f"index from 0 to {len(dilations) - 1} into the dilations {list(dilations)}."
        )


def channel_order(choice: Sequence[int], channels: int) -> tuple[int, ...]:
    """Return the order of channels after the sub-convolutions are concatenated (NATS Eq. 6).

    That is the original channel at each new position, sorted by dilation, then by channel.

    Args:
        channels: of the output; for the inputs of a grouped convolution, of the input.
    """
    size = channels // len(choice)
    # A stable sort: groups with the same dilation keep their order.
    groups = sorted(range(len(choice)), key=lambda group: choice[group])
    return tuple(group * size + channel for group in groups for channel in range(size))
