"""What every search algorithm can do."""

from collections.abc import Collection
from typing import Protocol

from optuna.samplers import BaseSampler

from crnas_d2.space import Genotype

from .candidates import Candidate

__all__ = ["ListSearcher", "Searcher"]


class Searcher(Protocol):
    """Decides which genotypes are evaluated.

    It keeps no state: what has been evaluated says all, so a search that was stopped goes on, and
    several workers that ask at the same time get the same answer.

    Attributes:
        total: number of evaluations of the whole search.
        sampler: what proposes a candidate when it is asked for one; ``None`` where
            :meth:`propose` lists them.
    """

    total: int
    sampler: BaseSampler | None

    def propose(self, candidates: Collection[Candidate]) -> list[Genotype]:
        """The genotypes to evaluate next; none when the search is over.

        Args:
            candidates: all that were evaluated.
        """

    def may_ask(self, candidates: Collection[Candidate], num_running: int) -> bool:
        """Whether the sampler is to propose one more candidate.

        Args:
            num_running: candidates that are being evaluated now.
        """

    def admits(self, genotype: Genotype) -> bool:
        """Whether a genotype that the sampler has proposed is within the budget."""


class ListSearcher:
    """The part of a :class:`Searcher` that those have in common which list their candidates."""

    sampler = None

    def may_ask(self, candidates: Collection[Candidate], num_running: int) -> bool:
        return False

    def admits(self, genotype: Genotype) -> bool:
        return True
