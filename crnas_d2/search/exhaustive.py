"""Exhaustive search: every feasible genotype (CR-NAS section 3.3.1)."""

from collections.abc import Collection, Sequence

from crnas_d2.space import Budget, Genotype, SearchSpace, feasible_fraction, feasible_genotypes

from .candidates import Candidate
from .searcher import SEARCHER_REGISTRY, Searcher

__all__ = ["ExhaustiveSearcher"]

_MOST = 100_000  # feasible genotypes; a larger search is a mistake


@SEARCHER_REGISTRY.register("exhaustive")
class ExhaustiveSearcher(Searcher):
    """Evaluates every feasible genotype: the best is the arg max of equation 1.

    Raises:
        ValueError: no genotype is feasible, or too many are.
    """

    num_decisive = 1

    def __init__(self, space: SearchSpace, budgets: Sequence[Budget] = ()):
        super().__init__(space, budgets)
        size = round(feasible_fraction(space, budgets).value * space.size)
        if size > _MOST:
            raise ValueError(
                f"SEARCH.ALGORITHM is 'exhaustive', but the {space.kind} space has about {size:,} "
                f"feasible genotypes, more than {_MOST:,}. Use 'greedy' or 'evolution', or narrow "
                "SEARCH.BUDGET."
            )
        self.genotypes = feasible_genotypes(space, budgets)
        self.total = len(self.genotypes)

    def propose(self, candidates: Collection[Candidate]) -> list[Genotype]:
        done = {candidate.genotype for candidate in candidates}
        return [genotype for genotype in self.genotypes if genotype not in done]
