"""Rules of thumb: which network one would take without a search."""

from collections.abc import Mapping, Sequence

from .budget import Budget
from .genotype import Genotype
from .search_space import SearchSpace


def without_last_blocks(space: SearchSpace, budgets: Sequence[Budget]) -> Genotype | None:
    """Drop the last blocks of the network first, until no budget is exceeded.

    Each stage keeps its least number of blocks. Images stay as large as they can be; operations
    are the first. Lower limits do not count. Return ``None`` if the numbers of blocks are no
    choice, or if all that may be dropped is not enough.
    """
    depths = [choice for choice in space.choices if choice.field == "depths"]
    kept = {choice.name: max(choice.options) for choice in space.choices if not choice.parent}
    for choice in reversed(depths):
        for option in sorted(choice.options, reverse=True):
            kept[choice.name] = option
            genotype = _genotype(space, kept)
            if all(budget.cost(genotype) <= budget.high for budget in budgets):
                return genotype
    return None


def _genotype(space: SearchSpace, decided: Mapping[str, int]) -> Genotype:
    """Return the genotype with these options, and the first of each other choice."""
    values: dict[str, int] = {}
    for choice in space.choices:
        if choice.is_active(values):
            values[choice.name] = decided.get(choice.name, choice.options[0])
    return space.genotype(values)
