"""Random networks: the baseline that a search has to beat."""

from collections.abc import Callable, Collection, Sequence
from random import Random

from crnas_d2.space import Budget, Genotype, SearchSpace, is_feasible

_MOST_SAMPLES = 200_000  # in a row without a new feasible one; then the space is exhausted
_POOL = 50  # samples for each network that is chosen
_PATIENCE = 2_000  # the same for a pool, which may be smaller


def sample_genotypes(
    space: SearchSpace, budgets: Sequence[Budget], number: int, seed: int
) -> list[Genotype]:
    """Sample different feasible genotypes, each choice uniformly."""
    return feasible_samples(space, budgets, number, Random(f"{seed}/networks"))


def sample_over_cost(
    space: SearchSpace,
    budgets: Sequence[Budget],
    cost: Callable[[Genotype], float],
    number: int,
    seed: int,
) -> list[Genotype]:
    """Sample different feasible genotypes evenly over the range of a cost, the cheapest first.

    The range of the costs of many random genotypes is divided into ``number`` equal parts, and one
    is taken at random from each; those of empty parts are taken at random from the rest.
    """
    random = Random(f"{seed}/networks")
    pool = feasible_samples(space, budgets, _POOL * number, random, patience=_PATIENCE)
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


def feasible_samples(
    space: SearchSpace,
    budgets: Sequence[Budget],
    number: int,
    random: Random,
    *,
    known: Collection[Genotype] = (),
    patience: int | None = None,
) -> list[Genotype]:
    """Sample different feasible genotypes that are not known.

    After many samples in a row that gave nothing new, raise ValueError; with ``patience``, return
    what there is after so many.
    """
    found: dict[Genotype, None] = {}
    in_vain = 0
    while len(found) < number and in_vain < (patience or _MOST_SAMPLES):
        genotype, in_vain = space.sample(random), in_vain + 1
        if genotype not in found and genotype not in known and is_feasible(genotype, budgets):
            found[genotype], in_vain = None, 0
    if len(found) < number and patience is None:
        raise ValueError(
            f"{_MOST_SAMPLES:,} samples gave only {len(found)} genotypes that satisfy "
            f"SEARCH.BUDGET, not {number}. Ask for fewer, or widen the budget."
        )
    return list(found)
