"""Costs that add up over the choices of a space, and the registry of costs."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .genotype import Genotype
from .registry import Registry
from .search_space import SearchSpace

__all__ = ["COST_REGISTRY", "AdditiveCost", "Cost", "format_quantity"]

COST_REGISTRY = Registry("COST", "A cost")


@dataclass(frozen=True)
class AdditiveCost:
    """What each genotype of a space costs: the sum of its options, and of all that is fixed.

    Attributes:
        name: of the cost, e.g. ``MACS``; the key of its limits in ``SEARCH.BUDGET``.
        unit: for messages and tables, e.g. ``MACs``.
        space: the genotypes.
        options: by name of each choice, the cost of each option.
        base: what every genotype costs besides.
    """

    name: str
    unit: str
    space: SearchSpace
    options: Mapping[str, Mapping[int, float]]
    base: float = 0

    def __call__(self, genotype: Genotype) -> float:
        """The cost of a complete genotype."""
        return self.of(self.space.values(genotype))

    def of(self, values: Mapping[str, int]) -> float:
        """The cost of the option that each active choice takes."""
        return sum((self.options[name][option] for name, option in values.items()), self.base)

    @property
    def range(self) -> tuple[float, float]:
        """The least and the greatest cost of all genotypes."""
        return self.of(self.extreme(min)), self.of(self.extreme(max))

    def extreme(self, pick: Callable) -> dict[str, int]:
        """The values of the cheapest or of the most expensive genotype.

        Args:
            pick: ``min`` or ``max``.
        """
        # Whatever a choice depends on, these are its best options.
        best = {name: pick(costs, key=costs.get) for name, costs in self.options.items()}
        for root, children in self.space.groups:

            def total(option: int, root=root, children=children) -> float:
                active = [child.name for child in children if option in child.active_for]
                return sum(
                    (self.options[name][best[name]] for name in active),
                    self.options[root.name][option],
                )

            best[root.name] = pick(root.options, key=total)
        return self.space.active(best)

    @property
    def digest(self) -> str:
        """A hash by which these costs are told from others."""
        content = json.dumps([self.base, self.options], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()


class Cost(ABC):
    """Something that a network costs, as a sum over its blocks.

    A subclass is registered with ``@COST_REGISTRY.register("NAME")``. ``SEARCH.BUDGET.NAME`` then
    limits it, ``SEARCH.SECOND_OBJECTIVE: NAME`` minimizes it beside the fitness, and
    ``SEARCH.COSTS`` makes it a column of candidates.csv and of the report. Most costs can be
    counted while the network runs on shapes alone: subclass :class:`crnas_d2.cost.CountedCost`.

    Attributes:
        name: under which it is registered.
        unit: for messages and tables, e.g. ``MACs``.
        example: limits as they may be, for messages.
    """

    name: str
    unit: str
    example: str = "[0, 1e6]"

    @classmethod
    def from_config(cls, cfg) -> dict[str, Any]:
        """The arguments of the constructor; by default there are none."""
        return {}

    @abstractmethod
    def table(self, spec: Any, input_size: tuple[int, int]) -> AdditiveCost:
        """The cost of every genotype.

        Args:
            spec: of a single-path supernet, a :class:`crnas_d2.config.NetworkSpec`.
            input_size: (height, width) of the image, pixels.

        Raises:
            ValueError: it cannot be had for this network.
        """


def format_quantity(value: float) -> str:
    """``300 M`` for 300,000,000."""
    for factor, prefix in ((1e9, " G"), (1e6, " M")):
        if value >= factor:
            return f"{value / factor:.5g}{prefix}"
    return f"{value:,.0f}" if value >= 1e4 else f"{value:.5g}"
