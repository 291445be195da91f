"""From a config to the search algorithm it names."""

from crnas_d2.space import build_budget, build_search_space

from .exhaustive import ExhaustiveSearcher
from .greedy import GreedySearcher
from .searcher import Searcher

__all__ = ["build_searcher"]

ALGORITHMS = ("exhaustive", "greedy")


def build_searcher(cfg) -> Searcher:
    """The search of ``SEARCH.ALGORITHM`` over the space of ``MODEL.SUPERNET``.

    Raises:
        ValueError: an unknown algorithm, or settings with which there is nothing to search.
    """
    algorithm = cfg.SEARCH.ALGORITHM
    space, budget = build_search_space(cfg), build_budget(cfg)
    if algorithm == "exhaustive":
        return ExhaustiveSearcher(space, budget)
    if algorithm == "greedy":
        if budget is not None:
            raise ValueError(
                f"{budget.key} is [{budget.low:g}, {budget.high:g}], but a greedy search cannot "
                "keep within a limit: it draws what it has not yet decided. Set it to []."
            )
        return GreedySearcher(space, cfg.SEARCH.GREEDY.TOP_K)
    raise ValueError(f"SEARCH.ALGORITHM is '{algorithm}'; expected one of {ALGORITHMS}.")
