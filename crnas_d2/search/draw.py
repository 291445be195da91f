"""Networks drawn at random: what a search has to beat."""

from collections.abc import Sequence
from random import Random

from crnas_d2.space import Budget, Genotype, SearchSpace

__all__ = ["draw_genotypes"]

_MOST_DRAWS = 200_000  # without anything new


def draw_genotypes(
    space: SearchSpace, budgets: Sequence[Budget], number: int, seed: int
) -> list[Genotype]:
    """Different genotypes, drawn uniformly from those within the budgets.

    Raises:
        ValueError: not as many were found.
    """
    random = Random(f"{seed}/networks")
    found: dict[Genotype, None] = {}
    in_vain = 0
    while len(found) < number:
        genotype = space.complete(space.base, random)
        if genotype in found or not space.admits(genotype, budgets):
            in_vain += 1
            if in_vain == _MOST_DRAWS:
                raise ValueError(
                    f"{_MOST_DRAWS:,} draws gave {len(found)} genotypes within SEARCH.BUDGET, not "
                    f"{number}. Ask for fewer, or widen the budget."
                )
            continue
        found[genotype], in_vain = None, 0
    return list(found)
