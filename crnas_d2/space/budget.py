"""Budgets: two-sided limits on the cost of a genotype."""

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from crnas_d2.common.errors import invalid
from crnas_d2.common.formats import format_quantity

from .cost import AdditiveCost
from .genotype import Genotype


@dataclass(frozen=True)
class Budget:
    """Limits on the cost of a genotype: ``low <= cost <= high``."""

    cost: AdditiveCost
    low: float
    high: float

    @property
    def key(self) -> str:
        """The config key of the limits."""
        return f"SEARCH.BUDGET.{self.cost.name}"

    @property
    def is_reachable(self) -> bool:
        """Whether the limits overlap the range of all costs, which may have gaps."""
        least, greatest = self.cost.range
        return least <= self.high and self.low <= greatest

    @property
    def limits(self) -> str:
        """Key and limits, for messages: ``SEARCH.BUDGET.MACS [0, 300 M]``."""
        return f"{self.key} [{format_quantity(self.low)}, {format_quantity(self.high)}]"

    def admits(self, cost: float) -> bool:
        """Whether a cost lies within the limits."""
        return self.low <= cost <= self.high


def is_feasible(genotype: Genotype, budgets: Sequence[Budget]) -> bool:
    """Whether a complete genotype satisfies all budgets."""
    return all(budget.admits(budget.cost(genotype)) for budget in budgets)


def parse_limits(key: str, limits: Sequence[Any], example: str) -> tuple[float, float] | None:
    """Read ``[least, most]``; ``None`` for ``[]``, no limit.

    Numbers may be strings, because YAML reads ``300e6`` as one.

    Args:
        example: valid limits, for the message.

    Raises:
        ValueError: anything else, with the key and an example.
    """
    if not limits:
        return None
    numbers = list(map(_number, limits))
    if len(numbers) != 2 or not 0 <= numbers[0] <= numbers[1] < math.inf:
        raise invalid(key, list(limits), f"[least, most], e.g. {example}, or [] for no limit")
    return numbers[0], numbers[1]


def _number(value: object) -> float:
    """Return NaN, which no comparison admits, for what is no number."""
    # bool is an int in Python, but "at most True" is a mistake in a config.
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        with suppress(ValueError, OverflowError):
            return float(value)
    return math.nan
