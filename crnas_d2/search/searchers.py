"""Searchers: which genotypes are evaluated."""

from collections.abc import Callable

from crnas_d2.space import Budget, Genotype, SearchSpace

__all__ = ["SEARCHERS", "exhaustive"]


def exhaustive(space: SearchSpace, budget: Budget | None) -> list[Genotype]:
    """Every eligible genotype (CR-NAS section 3.3.1): the best is the arg max of equation 1.

    Raises:
        ValueError: nothing is eligible.
    """
    return space.eligible(budget)


# By SEARCH.ALGORITHM: from the space and the budget to the candidates to enqueue.
SEARCHERS: dict[str, Callable[[SearchSpace, Budget | None], list[Genotype]]] = {
    "exhaustive": exhaustive,
}
