"""Two-sided limits on costs that add up over the choices of a space."""

import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import add
from random import Random

__all__ = ["NOTHING", "Budget", "Share", "affordable", "parse_limits", "share_within"]

_MOST_LISTED = 1_000  # different totals that an error message looks for
_MOST_COUNTED = 100_000  # genotypes that are counted one by one
_MOST_TOTALS = 100_000  # different totals of half the choices, beyond which genotypes are drawn
_DRAWS = 100_000  # standard error of a share of 1e-4: a third of it
# Partial sums of floats are rounded; a branch is left only where that cannot have been the reason.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Budget:
    """``low <= base + sum_i costs[i][option_i] <= high``.

    Attributes:
        key: the config key that set it, for messages.
        low: least cost allowed.
        high: greatest cost allowed.
        costs: by choice, in their order, the cost of each option.
        base: what every genotype costs besides.
        unit: of all costs, for messages.
    """

    key: str
    low: float
    high: float
    costs: tuple[Mapping[int, float], ...]
    base: float = 0
    unit: str = "blocks"

    @property
    def reach(self) -> tuple[float, float]:
        """The least and the greatest cost of all genotypes, within the limits or not."""
        least, greatest = (sum(pick(c.values()) for c in self.costs) for pick in (min, max))
        return self.base + least, self.base + greatest

    @property
    def is_reachable(self) -> bool:
        """Whether the range of all costs meets the limits; there may be a gap in it."""
        least, greatest = self.reach
        return least <= self.high and self.low <= greatest

    @property
    def limits(self) -> str:
        """Key and limits, for messages: ``SEARCH.BUDGET.MACS [0, 300 M]``."""
        return f"{self.key} [{_number(self.low)}, {_number(self.high)}]"

    def cost(self, chosen: Sequence[int]) -> float:
        """
        Args:
            chosen: one option of each choice.
        """
        costs = (costs[option] for costs, option in zip(self.costs, chosen, strict=True))
        return sum(costs, start=self.base)

    def admits(self, chosen: Sequence[int]) -> bool:
        """Whether one option of each choice is within the limits."""
        return self.low <= self.cost(chosen) <= self.high

    def affordable(self, options: Sequence[Sequence[int]]) -> Iterator[tuple[int, ...]]:
        """The tuples, one option of each choice, within the limits, in lexicographic order."""
        return affordable(options, (self,))

    def explain(self) -> str:
        """Says that nothing is affordable, and which totals can be reached."""
        least, greatest = self.reach
        totals = {self.base}
        for costs in self.costs:
            totals = {total + cost for total in totals for cost in costs.values()}
            if len(totals) > _MOST_LISTED:
                reachable = f"Reachable: {_number(least)} to {_number(greatest)} {self.unit}"
                fix = "Choose wider limits, within that range."
                break
        else:
            reachable = f"Reachable totals: {_ranges(sorted(totals))} {self.unit}"
            fix = "Choose limits that hold one of them."
        return f"No genotype has a cost within {self.limits}. {reachable}. {fix}"

    def describe(self, share: "Share") -> str:
        """The range that can be reached and the part of it within the limits, in one line.

        Args:
            share: of the genotypes within this budget alone.
        """
        least, greatest = self.reach
        return (
            f"{_number(least)} to {_number(greatest)} {self.unit} reachable, {share} of the space "
            f"within {self.limits}"
        )


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


def affordable(
    options: Sequence[Sequence[int]], budgets: Sequence[Budget]
) -> Iterator[tuple[int, ...]]:
    """The tuples, one option of each choice, within all budgets, in lexicographic order.

    Beginnings that no completion brings within the limits are left early.
    """
    ways = [_Ways(budget, options) for budget in budgets]

    def extend(prefix: tuple[int, ...], spent: list[float]) -> Iterator[tuple[int, ...]]:
        position = len(prefix)
        if not all(way.is_open(position, cost) for way, cost in zip(ways, spent, strict=True)):
            return
        if position == len(options):
            if all(budget.admits(prefix) for budget in budgets):
                yield prefix
            return
        for option in options[position]:
            costs = [budget.costs[position][option] for budget in budgets]
            yield from extend((*prefix, option), list(map(add, spent, costs)))

    yield from extend((), [budget.base for budget in budgets])


class _Ways:
    """Whether the choices that follow can bring a beginning within a budget."""

    def __init__(self, budget: Budget, options: Sequence[Sequence[int]]):
        columns = _columns(budget, options)
        # The least and greatest cost of the choices from i on.
        least = list(accumulate(map(min, reversed(columns)), initial=0))[::-1]
        greatest = list(accumulate(map(max, reversed(columns)), initial=0))[::-1]
        slack = _ROUNDING * (budget.base + greatest[0])
        self.highest = [budget.high - cost + slack for cost in least]
        self.lowest = [budget.low - cost - slack for cost in greatest]

    def is_open(self, position: int, spent: float) -> bool:
        return self.lowest[position] <= spent <= self.highest[position]


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
    columns = _columns(budget, options)
    first, last = {budget.base: 1}, {0: 1}
    while columns:
        if len(first) <= len(last):
            first = _with_choice(first, columns.pop(0))
        else:
            last = _with_choice(last, columns.pop())
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


def _columns(budget: Budget, options: Sequence[Sequence[int]]) -> list[list[float]]:
    return [
        [costs[option] for option in values]
        for costs, values in zip(budget.costs, options, strict=True)
    ]


def parse_limits(key: str, limits: Sequence, example: str) -> tuple[float, float] | None:
    """Reads ``[least, most]``; ``None`` for ``[]``, no limit.

    Numbers may be written as strings: that is what YAML makes of ``300e6``.

    Args:
        example: limits as they may be, for the message.

    Raises:
        ValueError: anything else, with the key and an example.
    """
    if not limits:
        return None
    numbers = list(_finite(limits))
    if len(numbers) != 2 or len(limits) != 2 or not 0 <= numbers[0] <= numbers[1]:
        raise ValueError(
            f"{key} is {list(limits)}; expected [least, most], e.g. {example}, or [] for no limit."
        )
    return numbers[0], numbers[1]


def _finite(values: Iterable) -> Iterator[float]:
    """Those of the values that are finite numbers."""
    for value in values:
        # bool is an int in Python, but "at most True" is a typing mistake in a config.
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            try:
                number = float(value)
            except (ValueError, OverflowError):
                continue
            if math.isfinite(number):
                yield number


def _ranges(numbers: Sequence[float]) -> str:
    """``[4, 5, 6, 9]`` as ``4-6, 9`` (consecutive whole numbers are drawn together)."""
    runs: list[list[float]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    ends = [[_number(end) for end in (run[0], run[-1])] for run in runs]
    parts = [first if first == last else f"{first}-{last}" for first, last in ends]
    return ", ".join(parts if len(parts) <= 12 else [*parts[:6], "...", *parts[-6:]])


def _number(value: float) -> str:
    """``300 M`` for 300,000,000."""
    for factor, prefix in ((1e9, " G"), (1e6, " M")):
        if value >= factor:
            return f"{value / factor:.5g}{prefix}"
    return f"{value:,.0f}" if value >= 1e4 else f"{value:.5g}"
