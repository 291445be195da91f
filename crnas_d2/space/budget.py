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
        return self.low <= cost <= self.high


def is_feasible(genotype: Genotype, budgets: Sequence[Budget]) -> bool:
    """Whether a complete genotype satisfies all budgets."""
    return all(budget.admits(budget.cost(genotype)) for budget in budgets)


def parse_limits(key: str, limits: Sequence[Any], example: str) -> tuple[float, float] | None:
    """Read ``[least, most]``; ``None`` for ``[]``, no limit. Raise ValueError for anything else.

    Numbers may be strings, because YAML reads ``300e6`` as one. The message has the example.
    """
    if not limits:
        return None
    with suppress(ValueError, OverflowError):
        # bool is an int in Python, but "at most True" is a mistake in a config.
        if all(isinstance(n, int | float | str) and not isinstance(n, bool) for n in limits):
            least, most = map(float, limits)
            if 0 <= least <= most < math.inf:
                return least, most
    raise invalid(key, list(limits), f"[least, most], e.g. {example}, or [] for no limit")
