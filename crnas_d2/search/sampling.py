"""Random networks: the baseline that a search has to beat."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from random import Random

from crnas_d2.space import Budget, Genotype, SearchSpace, is_feasible

_MOST_SAMPLES = 200_000  # in a row without a new feasible one
_POOL = 50  # samples for each network that is chosen
_PATIENCE = 2_000  # the same for a pool, which may be smaller


def sample_genotypes(
    space: SearchSpace, budgets: Sequence[Budget], number: int, seed: int
) -> list[Genotype]:
    """Sample different feasible genotypes, each choice uniformly.

    Raises:
        ValueError: fewer were found.
    """
    found = list(islice(_feasible(space, budgets, seed, _MOST_SAMPLES), number))
    _check_number(found, number, _MOST_SAMPLES)
    return found


def sample_over_cost(
    space: SearchSpace,
    budgets: Sequence[Budget],
    cost: Callable[[Genotype], float],
    number: int,
    seed: int,
) -> list[Genotype]:
    """Sample different feasible genotypes evenly over the range of a cost.

    The range of the costs of many random genotypes is divided into ``number`` equal parts, and one
    genotype is taken at random from each; those of empty parts are taken at random from the rest.

    Returns:
        the cheapest first.

    Raises:
        ValueError: fewer were found.
    """
    pool = list(islice(_feasible(space, budgets, seed, _PATIENCE), _POOL * number))
    if len(pool) < number:
        pool = sample_genotypes(space, budgets, number, seed)
    costs = {genotype: cost(genotype) for genotype in pool}
    low, high = min(costs.values()), max(costs.values())
    width = (high - low) / number or 1
    parts: list[list[Genotype]] = [[] for _ in range(number)]
    for genotype, value in costs.items():
        parts[min(int((value - low) / width), number - 1)].append(genotype)
    random = Random(f"{seed}/strata")
    chosen = [random.choice(part) for part in parts if part]
    rest = [genotype for genotype in pool if genotype not in set(chosen)]
    chosen += random.sample(rest, number - len(chosen))
    return sorted(chosen, key=lambda genotype: costs[genotype])


def _feasible(
    space: SearchSpace, budgets: Sequence[Budget], seed: int, patience: int
) -> Iterator[Genotype]:
    """Yield different feasible genotypes, until so many samples in a row gave none."""
    random = Random(f"{seed}/networks")
    found: set[Genotype] = set()
    in_vain = 0
    while in_vain < patience:
        genotype = space.sample(random)
        if genotype in found or not is_feasible(genotype, budgets):
            in_vain += 1
            continue
        found.add(genotype)
        in_vain = 0
        yield genotype


def _check_number(found: Sequence[Genotype], number: int, samples: int) -> None:
    if len(found) < number:
        raise ValueError(
            f"{samples:,} samples gave only {len(found)} genotypes that satisfy SEARCH.BUDGET, not "
            f"{number}. Ask for fewer, or widen the budget."
        )
