"""How much of a space a search may choose from."""

import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import add
from random import Random

from .budget import Budget, affordable, columns

__all__ = ["NOTHING", "Share", "share_within"]

_MOST_COUNTED = 100_000  # genotypes that are counted one by one
_MOST_TOTALS = 100_000  # different totals of half the choices, beyond which genotypes are drawn
_DRAWS = 100_000  # standard error of a share of 1e-4: a third of it


@dataclass(frozen=True)
class Share:
    """A part of all genotypes.

    Attributes:
        value: from 0 to 1.
        is_exact: counted, not estimated from genotypes drawn uniformly.
    """

    value: float
    is_exact: bool

    def __str__(self) -> str:
        if self.is_exact or self.value:
            return f"{'' if self.is_exact else 'about '}{100 * self.value:.3g} %"
        return f"less than {300 / _DRAWS:.3g} %"  # 95 % sure after so many draws without a hit


NOTHING = Share(0.0, True)


def share_within(options: Sequence[Sequence[int]], budgets: Sequence[Budget]) -> Share:
    """The part of all tuples, one option of each choice, that is within all budgets.

    Small spaces are counted one by one, large ones by their totals where there is one budget with
    not too many different totals, as MACs and parameters have; for others (several budgets,
    latencies) 100,000 genotypes are drawn. That takes less than about a second in each case.
    """
    if not budgets:
        return Share(1.0, True)
    if not all(budget.is_reachable for budget in budgets):
        return NOTHING
    size = math.prod(map(len, options))
    if size <= _MOST_COUNTED:
        return Share(sum(1 for _ in affordable(options, budgets)) / size, True)
    if len(budgets) == 1:
        number = _count_totals(budgets[0], options)
        if number is not None:
            return Share(number / size, True)
    return Share(_draw(options, budgets) / _DRAWS, False)


def _count_totals(budget: Budget, options: Sequence[Sequence[int]]) -> int | None:
    """The number of tuples within a budget; ``None`` where the totals are too many.

    The choices are divided into those at the beginning and those at the end. How often each has
    each total is small to hold, where the totals of both together would not be.
    """
    prices = columns(budget, options)
    first, last = {budget.base: 1}, {0: 1}
    while prices:
        if len(first) <= len(last):
            first = _with_choice(first, prices.pop(0))
        else:
            last = _with_choice(last, prices.pop())
        if max(len(first), len(last)) > _MOST_TOTALS:
            return None
    totals = sorted(last)
    numbers = [0, *accumulate(last[total] for total in totals)]
    return sum(
        number
        * (
            numbers[bisect_right(totals, budget.high - spent)]
            - numbers[bisect_left(totals, budget.low - spent)]
        )
        for spent, number in first.items()
    )


def _with_choice(numbers: Mapping[float, int], column: Sequence[float]) -> dict[float, int]:
    extended = defaultdict(int)
    for cost in column:
        for total, number in numbers.items():
            extended[total + cost] += number
    return extended


def _draw(options: Sequence[Sequence[int]], budgets: Sequence[Budget]) -> int:
    """How many of ``_DRAWS`` uniform tuples are within all budgets."""
    random = Random(0)
    totals = [[budget.base] * _DRAWS for budget in budgets]
    for position, values in enumerate(options):
        drawn = random.choices(values, k=_DRAWS)
        for index, budget in enumerate(budgets):
            costs = map(budget.costs[position].__getitem__, drawn)
            totals[index] = list(map(add, totals[index], costs))
    return sum(
        all(b.low <= cost <= b.high for b, cost in zip(budgets, costs, strict=True))
        for costs in zip(*totals, strict=True)
    )
