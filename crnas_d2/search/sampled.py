"""Searches that an Optuna sampler leads: evolution, random search, any stock sampler."""

from collections.abc import Callable, Collection

from optuna.samplers import BaseSampler

from crnas_d2.space import Genotype

from .candidates import Candidate

__all__ = ["SampledSearcher"]

_MOST_FAILURES = 20  # from the beginning on; then the supernet is taken for untrained


class SampledSearcher:
    """Asks an Optuna sampler for one candidate at a time.

    Args:
        sampler: its proposals may be known already or outside of the budget; they are passed over.
        total: candidates with a fitness, after which the search is over.
        admits: whether a genotype is within the budget.
    """

    def __init__(self, sampler: BaseSampler, total: int, admits: Callable[[Genotype], bool]):
        self.sampler = sampler
        self.total = total
        self.admits = admits

    def propose(self, candidates: Collection[Candidate]) -> list[Genotype]:
        return []

    def may_ask(self, candidates: Collection[Candidate], num_running: int) -> bool:
        """
        Raises:
            ValueError: only failures so far.
        """
        scored = sum(candidate.fitness is not None for candidate in candidates)
        if not scored and len(candidates) >= _MOST_FAILURES:
            raise ValueError(
                f"None of the first {len(candidates)} candidates has a finite fitness: the "
                "supernet detects nothing yet, or archval has nothing to score. Train it longer."
            )
        return scored + num_running < self.total
