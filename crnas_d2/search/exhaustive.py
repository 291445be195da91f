"""Exhaustive search: every eligible genotype (CR-NAS section 3.3.1)."""

from collections.abc import Collection, Sequence

from crnas_d2.space import Budget, Genotype, SearchSpace

from .candidates import Candidate
from .searcher import ListSearcher

__all__ = ["ExhaustiveSearcher"]

_MOST = 100_000  # a space beyond that was not meant to be evaluated one by one


class ExhaustiveSearcher(ListSearcher):
    """Evaluates every genotype within all budgets: the best is the arg max of equation 1.

    Raises:
        ValueError: nothing is eligible, or far too much.
    """

    def __init__(self, space: SearchSpace, budgets: Sequence[Budget] = ()):
        size = round(space.share(budgets).value * space.size)
        if size > _MOST:
            raise ValueError(
                f"SEARCH.ALGORITHM is 'exhaustive', but the {space.kind} space has about {size:,} "
                f"eligible genotypes, more than {_MOST:,}. Use 'greedy' or 'evolution', or narrow "
                "SEARCH.BUDGET."
            )
        self.genotypes = space.eligible(budgets)
        self.total = len(self.genotypes)

    def propose(self, candidates: Collection[Candidate]) -> list[Genotype]:
        done = {candidate.genotype for candidate in candidates}
        return [genotype for genotype in self.genotypes if genotype not in done]
