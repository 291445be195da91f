"""Two-sided limits on costs that add up over the choices of a space."""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import add

__all__ = ["Budget", "affordable", "columns", "parse_limits"]

_MOST_LISTED = 1_000  # different totals that an error message looks for
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

    @property
    def digest(self) -> str:
        """Tells these costs from others, whatever their limits."""
        content = json.dumps([self.base, self.costs], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

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

    def describe(self, share: object) -> str:
        """The range that can be reached and the part of it within the limits, in one line.

        Args:
            share: of the genotypes within this budget alone, a :class:`~.share.Share`.
        """
        least, greatest = self.reach
        return (
            f"{_number(least)} to {_number(greatest)} {self.unit} reachable, {share} of the space "
            f"within {self.limits}"
        )


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
        prices = columns(budget, options)
        # The least and greatest cost of the choices from i on.
        least = list(accumulate(map(min, reversed(prices)), initial=0))[::-1]
        greatest = list(accumulate(map(max, reversed(prices)), initial=0))[::-1]
        slack = _ROUNDING * (budget.base + greatest[0])
        self.highest = [budget.high - cost + slack for cost in least]
        self.lowest = [budget.low - cost - slack for cost in greatest]

    def is_open(self, position: int, spent: float) -> bool:
        return self.lowest[position] <= spent <= self.highest[position]


def columns(budget: Budget, options: Sequence[Sequence[int]]) -> list[list[float]]:
    """By choice, the costs of its options."""
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
