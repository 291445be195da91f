"""Exhaustive search: every feasible genotype (CR-NAS section 3.3.1)."""

from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from random import Random
from typing import Any
from weakref import WeakKeyDictionary

from detectron2.config import CfgNode

from crnas_d2.space import Budget, Genotype, SearchSpace, feasible_fraction, feasible_genotypes

from .candidates import Candidate, Candidates
from .searcher import SEARCHER_REGISTRY, Searcher

_MOST = 1_000_000  # feasible genotypes, which take about 10 s and 0.6 GB; more are a mistake


@SEARCHER_REGISTRY.register("exhaustive")
class ExhaustiveSearcher(Searcher):
    """Evaluates every feasible genotype: the best is the arg max of equation 1.

    Args:
        order_seed: of a random order; ``None``: that of the space. A race needs a good candidate
            soon, while in many spaces the best ones are the last.
    """

    num_decisive, proposes_certain = 1, True

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
            self.genotypes = Random(order_seed).sample(self.genotypes, len(self.genotypes))

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        return {"order_seed": max(cfg.SEED, 0) if cfg.SEARCH.RACING.ENABLED else None}

    @cached_property
    def _starts(self) -> WeakKeyDictionary[Candidates, int]:
        """By candidates, how many of the first genotypes are among them."""
        return WeakKeyDictionary()

    def propose(self, candidates: Collection[Candidate]) -> Iterator[Genotype]:
        candidates = Candidates.of(candidates)
        done, start = candidates.by_genotype, self._starts.get(candidates, 0)
        # Results stay, so what is done at the start is looked at once.
        while start < len(self.genotypes) and self.genotypes[start] in done:
            start += 1
        self._starts[candidates] = start
        rest = (self.genotypes[place] for place in range(start, len(self.genotypes)))
        return (genotype for genotype in rest if genotype not in done)

    certain = propose
