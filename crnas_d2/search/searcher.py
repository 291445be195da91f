"""What every search algorithm can do, and the registry of algorithms."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import Any

from optuna.samplers import BaseSampler

from crnas_d2.space import Budget, Genotype, Registry, SearchSpace, is_feasible

from .candidates import Candidate

__all__ = ["SEARCHER_REGISTRY", "Searcher"]

SEARCHER_REGISTRY = Registry("SEARCHER", "SEARCH.ALGORITHM")


class Searcher(ABC):
    """Decides which genotypes are evaluated.

    A subclass is registered with ``@SEARCHER_REGISTRY.register("name")``; ``SEARCH.ALGORITHM``
    then takes the name. It is made with ``cls(space, budgets, **cls.from_config(cfg))``.

    It keeps no state: what has been evaluated says all, so a search that was stopped goes on, and
    several workers that ask at the same time get the same answer. Most searchers list what is to
    be evaluated next, in :meth:`propose`; one that is led by an Optuna sampler has a
    :attr:`sampler` instead, see :class:`crnas_d2.search.SampledSearcher`.

    Args:
        space: the genotypes to choose from.
        budgets: what a candidate may cost.

    Attributes:
        name: under which it is registered.
        total: number of evaluations of the whole search; ``None``: not known beforehand.
        sampler: what proposes a candidate when it is asked for one; ``None`` where
            :meth:`propose` lists them.
        has_second_objective: whether ``SEARCH.SECOND_OBJECTIVE`` may name a cost to minimize.
    """

    name: str
    total: int | None = None
    sampler: BaseSampler | None = None
    has_second_objective: bool = False

    def __init__(self, space: SearchSpace, budgets: Sequence[Budget] = ()):
        self.space = space
        self.budgets = tuple(budgets)

    @classmethod
    def from_config(cls, cfg) -> dict[str, Any]:
        """The further arguments of the constructor, plain data.

        With other values, a search is another one: ``--resume`` refuses to mix their candidates.
        A value that the default config gives is not compared, so that a setting that a later
        version adds does not stand in the way.
        """
        return {}

    @abstractmethod
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
        return False

    def is_feasible(self, genotype: Genotype) -> bool:
        """Whether a complete genotype satisfies all budgets."""
        return is_feasible(genotype, self.budgets)
