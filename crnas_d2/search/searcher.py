"""The interface of a search algorithm, and the registry of algorithms."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from detectron2.config import CfgNode
from optuna.samplers import BaseSampler

from crnas_d2.common.registry import Registry
from crnas_d2.space import Budget, Genotype, SearchSpace, is_feasible

from .candidates import Candidate
from .history import History

SEARCHER_REGISTRY = Registry("SEARCHER", "SEARCH.ALGORITHM")
"""Algorithms by the names of ``SEARCH.ALGORITHM``; each a subclass of :class:`Searcher`."""


class Searcher(ABC):
    """Decides which genotypes are evaluated.

    A subclass is registered with ``@SEARCHER_REGISTRY.register("name")``; ``SEARCH.ALGORITHM``
    then takes the name. It is built with ``cls(space, budgets, **cls.from_config(cfg))``.

    A searcher has no state: everything follows from the evaluated candidates. So a stopped search
    can be resumed, and workers that ask at the same time get the same answer. Most searchers list
    what to evaluate next (:meth:`propose`); one that is driven by an Optuna sampler has a
    :attr:`sampler` instead, see :class:`crnas_d2.search.SampledSearcher`.

    Attributes:
        total: number of evaluations of the whole search; ``None``: not known in advance.
        genotypes: those that it evaluates; ``None``: not known in advance.
        proposes_certain: whether all that it proposes is :meth:`certain`.
        proposes_prefixes: whether it proposes genotypes that decide on the first choices alone.
        num_prefixes: how many evaluations are those of a prefix.
        sampler: what proposes one candidate at a time; ``None`` if :meth:`propose` lists them.
        has_second_objective: whether ``SEARCH.SECOND_OBJECTIVE`` may name a cost to minimize.
        answers_duplicates: whether the sampler is told the result of a genotype that it proposes
            again. Such a searcher has :meth:`explore`.
        num_decisive: how many of the best candidates decide what it proposes and finds, so that
            ``SEARCH.RACING`` may stop the evaluation of the others; ``None``: of none.
    """

    name: str
    total: int | None = None
    genotypes: Sequence[Genotype] | None = None
    proposes_certain = proposes_prefixes = False
    has_second_objective = answers_duplicates = False
    num_prefixes: int = 0
    sampler: BaseSampler | None = None
    num_decisive: int | None = None

    def __init__(self, space: SearchSpace, budgets: Sequence[Budget] = ()):
        self.space, self.budgets = space, tuple(budgets)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Return the further arguments of the constructor, plain data, which identify a search.

        Values of the default config are not compared, so that a later version may add settings.
        """
        return {}

    @abstractmethod
    def propose(self, candidates: Collection[Candidate]) -> Iterable[Genotype]:
        """Return the genotypes to evaluate next, given all candidates; none at the end.

        The candidates of a worker are :class:`crnas_d2.search.Candidates`, in order.
        """

    def certain(self, candidates: Collection[Candidate]) -> Iterable[Genotype]:
        """Return genotypes that will be evaluated, whatever the results that are still missing.

        A worker that would wait for others begins with them. Some may be running.
        """
        return []

    def explore(self, known: Collection[Genotype], number: int) -> Genotype:
        """Return an unknown candidate for trial ``number``, if it answers duplicates."""
        raise NotImplementedError(f"{self.name} answers duplicates, but has no explore().")

    def may_ask(self, candidates: Collection[Candidate], num_running: int) -> bool:
        """Whether to ask the sampler for one more candidate, while others are running."""
        return False

    def sample(self, history: History) -> tuple[Genotype, Mapping[str, object]] | None:
        """Return one more candidate, with system attributes of its trial, if it may ask.

        ``None``: the :attr:`sampler` proposes it as Optuna asks, one choice after the other.
        """
        return None

    def is_feasible(self, genotype: Genotype) -> bool:
        """Whether a complete genotype satisfies all budgets."""
        return is_feasible(genotype, self.budgets)


def build_searcher(cfg: CfgNode, space: SearchSpace, budgets: Sequence[Budget]) -> Searcher:
    """Build the searcher of ``SEARCH.ALGORITHM``."""
    searcher = SEARCHER_REGISTRY.get(cfg.SEARCH.ALGORITHM)
    second = cfg.SEARCH.SECOND_OBJECTIVE
    if second and not searcher.has_second_objective:
        others = [name for name, other in SEARCHER_REGISTRY if other.has_second_objective]
        raise ValueError(
            f"SEARCH.SECOND_OBJECTIVE is '{second}', but SEARCH.ALGORITHM '{searcher.name}' has "
            f"one objective. Use {', '.join(map(repr, others))} (with SEARCH.OPTUNA.SAMPLER "
            "'NSGAIISampler'), or set it to ''."
        )
    return searcher(space, budgets, **searcher.from_config(cfg))
