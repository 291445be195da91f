"""Rules of thumb: how one would make a trained network cheaper without a search."""

from collections.abc import Callable
from random import Random

from crnas_d2.space import (
    AdditiveCost,
    Budget,
    Genotype,
    SearchSpace,
    feasible_genotypes,
    without_last_blocks,
)

NARROW = 0.92  # of the limit: allocations below it have not used what they may cost


def full(space: SearchSpace) -> Genotype:
    """Return the network with all blocks."""
    return Genotype(tuple(max(choice.options) for choice in space.choices))


def smallest(space: SearchSpace) -> Genotype:
    """Return the network with the fewest blocks."""
    return Genotype(tuple(min(choice.options) for choice in space.choices))


def deep_end(macs: AdditiveCost, most: float) -> Genotype:
    """Drop the last blocks of the network first, until at most ``most`` MACs are left.

    Each stage keeps its first block.
    """
    found = without_last_blocks(macs.space, [Budget(macs, 0, most)])
    return _checked(macs, most, list((found or smallest(macs.space)).depths))


def equal_share(macs: AdditiveCost, most: float) -> Genotype:
    """Keep the same share of the blocks of each stage, the largest with at most ``most`` MACs."""
    whole = full(macs.space).depths
    shares = sorted({kept / depth for depth in whole for kept in range(depth + 1)}, reverse=True)
    for share in shares:
        depths = [max(1, round(share * depth)) for depth in whole]
        if macs(Genotype(tuple(depths))) <= most:
            break
    return _checked(macs, most, depths)


def one_each(macs: AdditiveCost, most: float) -> Genotype:
    """Keep the first block of each stage alone."""
    return _checked(macs, most, list(smallest(macs.space).depths))


def drawn(macs: AdditiveCost, most: float, seed: int) -> Genotype:
    """Draw an allocation with at most ``most`` MACs, and not far below, each as likely."""
    feasible = feasible_genotypes(macs.space, [Budget(macs, NARROW * most, most)])
    return Random(seed).choice(feasible)


def smaller_size(
    macs_of: Callable[[tuple[int, int]], float], size: tuple[int, int], most: float
) -> tuple[int, int]:
    """Return the largest image of the same shape with which the network has ``most`` MACs.

    Args:
        macs_of: returns the MACs of the network for (height, width).
        size: of the images so far, (shorter side, longer side), pixels.
    """
    shorter, longer = size
    for side in range(shorter, 0, -1):
        smaller = side, round(longer * side / shorter)
        if macs_of(smaller) <= most:
            return smaller
    raise ValueError(f"No image is so small that the network has at most {most:,.0f} MACs.")


def image_sizes(largest: int, smallest: int) -> list[int]:
    """Return three shorter sides to search among, pixels; fewer if they are too close."""
    return list(dict.fromkeys([largest, round((largest + smallest) / 2), smallest]))


def _checked(macs: AdditiveCost, most: float, depths: list[int]) -> Genotype:
    genotype = Genotype(tuple(depths))
    if (least := macs(genotype)) > most:
        raise ValueError(
            f"The rule ends at {genotype}, {least:,.0f} MACs; expected at most {most:,.0f}. "
            "Choose a larger --share."
        )
    return genotype
