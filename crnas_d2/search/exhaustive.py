"""Exhaustive search: every feasible genotype (CR-NAS section 3.3.1)."""

from collections.abc import Collection, Sequence
from random import Random
from typing import Any

from detectron2.config import CfgNode

from crnas_d2.space import Budget, Genotype, SearchSpace, feasible_fraction, feasible_genotypes

from .candidates import Candidate
from .searcher import SEARCHER_REGISTRY, Searcher

_MOST = 100_000  # feasible genotypes; a larger search is a mistake


@SEARCHER_REGISTRY.register("exhaustive")
class ExhaustiveSearcher(Searcher):
    """Evaluates every feasible genotype: the best is the arg max of equation 1.

    Args:
        order_seed: of a random order; ``None``: that of the space. A race needs a good candidate
            soon, while in many spaces the best ones are the last.
    """

    num_decisive = 1

    def __init__(
        self, space: SearchSpace, budgets: Sequence[Budget] = (), *, order_seed: int | None = None
    ):
        super().__init__(space, budgets)
        size = round(feasible_fraction(space, budgets).value * space.size)
        if size > _MOST:
            raise ValueError(
                f"SEARCH.ALGORITHM is 'exhaustive', but the {space.kind} space has about {size:,} "
                f"feasible genotypes, more than {_MOST:,}. Use 'greedy' or 'evolution', or narrow "
                "SEARCH.BUDGET."
            )
        self.genotypes: Sequence[Genotype] = feasible_genotypes(space, budgets)
        self.total = len(self.genotypes)
        if order_seed is not None:
            self.genotypes = Random(order_seed).sample(self.genotypes, self.total)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        return {"order_seed": max(cfg.SEED, 0) if cfg.SEARCH.RACING.ENABLED else None}

    def propose(self, candidates: Collection[Candidate]) -> list[Genotype]:
        done = {candidate.genotype for candidate in candidates}
        return [genotype for genotype in self.genotypes if genotype not in done]

    certain = propose
