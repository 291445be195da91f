"""What every search algorithm can do."""

from collections.abc import Collection
from typing import Protocol

from crnas_d2.space import Genotype

from .candidates import Candidate

__all__ = ["Searcher"]


class Searcher(Protocol):
    """Decides which genotypes are evaluated.

    It keeps no state: what has been evaluated says all, so a search that was stopped goes on, and
    several workers that ask at the same time get the same answer.

    Attributes:
        total: number of evaluations of the whole search.
    """

    total: int

    def propose(self, candidates: Collection[Candidate]) -> list[Genotype]:
        """The genotypes to evaluate next; none when the search is over.

        Args:
            candidates: all that were evaluated.
        """
