"""From a config to the search algorithm it names."""

from collections.abc import Sequence

from yacs.config import CfgNode

from crnas_d2.space import Budget, SearchSpace

from .searcher import SEARCHER_REGISTRY, Searcher


def build_searcher(cfg: CfgNode, space: SearchSpace, budgets: Sequence[Budget]) -> Searcher:
    """Build the searcher of ``SEARCH.ALGORITHM``.

    Args:
        budgets: limits on the costs of a candidate.

    Raises:
        ValueError: an unknown algorithm, or settings that it cannot search with.
    """
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
