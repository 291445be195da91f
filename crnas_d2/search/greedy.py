"""Greedy search: one choice after the other, keeping the best beginnings (CR-NAS algorithm 1)."""

from collections.abc import Collection

from crnas_d2.space import Genotype, SearchSpace

from .candidates import Candidate

__all__ = ["GreedySearcher"]


class GreedySearcher:
    """Decides the choices of a space in their order.

    At each level, the ``top_k`` best partial genotypes of the level before are extended by every
    option of the next choice, and evaluated; the first level has the options of the first choice
    alone. So for three operations, B blocks and K = 3 it takes 3 + 9 (B - 1) evaluations.

    Args:
        top_k: K, partial genotypes kept from level to level.

    Raises:
        ValueError: ``top_k`` below 1.
    """

    def __init__(self, space: SearchSpace, top_k: int):
        if top_k < 1:
            raise ValueError(f"SEARCH.GREEDY.TOP_K is {top_k}; expected at least 1 (CR-NAS: 3).")
        self.space = space
        self.top_k = top_k
        self.total, kept = 0, 1
        for choice in space.choices:
            width = kept * len(choice.options)
            self.total, kept = self.total + width, min(top_k, width)

    def propose(self, candidates: Collection[Candidate]) -> list[Genotype]:
        """
        Raises:
            ValueError: every candidate of a level has failed.
        """
        fitness = {candidate.genotype: candidate.fitness for candidate in candidates}
        kept = [self.space.base]
        for choice in self.space.choices:
            level = [
                self._extend(genotype, option) for genotype in kept for option in choice.options
            ]
            missing = [genotype for genotype in level if genotype not in fitness]
            if missing:
                return missing
            scored = [genotype for genotype in level if fitness[genotype] is not None]
            if not scored:
                raise ValueError(
                    f"No candidate that decides on {choice.name} has a finite fitness, so the "
                    "search cannot go on: the supernet detects nothing yet, or archval has nothing "
                    "to score. Train it longer."
                )
            # Equal fitness: in the order of the genotypes, so that every worker keeps the same.
            kept = sorted(scored, key=lambda genotype: (-fitness[genotype], genotype))[: self.top_k]
        return []

    def _extend(self, genotype: Genotype, option: int) -> Genotype:
        values = self.space.values(genotype, partial=True)
        return self.space.genotype({**values, self.space.names[len(values)]: option})
