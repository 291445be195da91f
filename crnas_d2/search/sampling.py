"""Random networks: the baseline that a search has to beat."""

from collections.abc import Sequence
from random import Random

from crnas_d2.space import Budget, Genotype, SearchSpace, is_feasible

__all__ = ["sample_genotypes"]

_MOST_SAMPLES = 200_000  # in a row without a new feasible one


def sample_genotypes(
    space: SearchSpace, budgets: Sequence[Budget], number: int, seed: int
) -> list[Genotype]:
    """Sample different feasible genotypes, each choice uniformly.

    Raises:
        ValueError: fewer were found.
    """
    random = Random(f"{seed}/networks")
    found: dict[Genotype, None] = {}
    in_vain = 0
    while len(found) < number:
        genotype = space.sample(random)
        if genotype in found or not is_feasible(genotype, budgets):
            in_vain += 1
            if in_vain == _MOST_SAMPLES:
                raise ValueError(
                    f"{_MOST_SAMPLES:,} samples gave only {len(found)} genotypes that satisfy "
                    f"SEARCH.BUDGET, not {number}. Ask for fewer, or widen the budget."
                )
            continue
        found[genotype], in_vain = None, 0
    return list(found)
