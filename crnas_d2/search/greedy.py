"""Greedy search: one choice after the other, keeping the best prefixes (CR-NAS algorithm 1)."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from detectron2.config import CfgNode

from crnas_d2.common.errors import invalid
from crnas_d2.space import Budget, Genotype, SearchSpace

from .candidates import Candidate, Candidates, none_is_scored
from .searcher import SEARCHER_REGISTRY, Searcher


@SEARCHER_REGISTRY.register("greedy")
class GreedySearcher(Searcher):
    """Decides the choices of a space in their order.

    Each level evaluates the ``top_k`` best prefixes (partial genotypes) of the level before with
    every option of the next choice; the first level has only the options of the first choice. With
    three operations, B blocks and K = ``top_k`` = 3, this takes 3 + 9 (B - 1) evaluations. A choice
    with a single option needs no level.
    """

    proposes_prefixes = proposes_certain = True

    def __init__(self, space: SearchSpace, budgets: Sequence[Budget] = (), *, top_k: int = 3):
        super().__init__(space, budgets)
        if budgets:
            raise ValueError(
                f"{budgets[0].limits} is a constraint that a greedy search cannot satisfy, because "
                "it samples the choices that it has not decided yet. Set it to []."
            )
        if space.is_conditional:
            raise ValueError(
                f"SEARCH.ALGORITHM is 'greedy', but in the {space.kind} space earlier choices "
                "decide which later ones there are. Use 'evolution', or search 'stage', then "
                "'operation'."
            )
        if top_k < 1:
            raise invalid("SEARCH.GREEDY.TOP_K", top_k, "at least 1 (CR-NAS: 3)")
        self.top_k = top_k
        self.levels = [choice for choice in space.choices if len(choice.options) > 1]
        # Each level evaluates the kept prefixes times the options.
        widths, kept = [], 1
        for choice in self.levels:
            widths.append(kept * len(choice.options))
            kept = min(top_k, widths[-1])
        self.total, self.num_prefixes = sum(widths), sum(widths[:-1])

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        return {"top_k": cfg.SEARCH.GREEDY.TOP_K}

    def propose(self, candidates: Collection[Candidate]) -> list[Genotype]:
        """Return the candidates of the first level that is not fully evaluated."""
        return next(filter(None, self._missing(candidates)), [])

    def certain(self, candidates: Collection[Candidate]) -> list[Genotype]:
        # Before a level is fully evaluated, a prefix is certain to be kept if fewer than top_k
        # others can still end ahead of it.
        return [genotype for level in self._missing(candidates) for genotype in level]

    def _missing(self, candidates: Collection[Candidate]) -> Iterator[list[Genotype]]:
        """Yield, level by level, the candidates without a result that are certain to be needed."""
        results = Candidates.of(candidates).by_genotype
        # The search is replayed from its results: it starts from the empty prefix each time.
        kept, undecided = [self._extend({})], 0
        for choice in self.levels:
            # p_extend of algorithm 1: every kept prefix with every option of the next choice.
            level = [
                self._extend({**self.space.values(prefix, partial=True), choice.name: option})
                for prefix in kept
                for option in choice.options
            ]
            missing = [genotype for genotype in level if genotype not in results]
            yield missing
            found = {g: results[g].fitness for g in level if g in results}
            scored = {g: value for g, value in found.items() if value is not None}
            # Those of this level that may still end ahead of all others.
            unknown = len(missing) + undecided * len(choice.options)
            if not scored and not unknown:
                failed = [results[genotype] for genotype in level]
                raise none_is_scored(f"No candidate that decides on {choice.name}", failed)
            # ChooseTopK. Ties in the order of the genotypes, so that all workers keep the same.
            ranked = sorted(scored, key=lambda genotype: (-scored[genotype], genotype))
            kept = ranked[: max(0, self.top_k - unknown)]
            undecided = min(self.top_k, len(scored) + unknown) - len(kept)
            if not kept:
                return

    def _extend(self, values: dict[str, int]) -> Genotype:
        """Return the prefix of these values, and of single-option choices that follow them."""
        for choice in self.space.choices[len(values) :]:
            if len(choice.options) > 1:
                break
            values = {**values, choice.name: choice.options[0]}
        return self.space.genotype(values)
