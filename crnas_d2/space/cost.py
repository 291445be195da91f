"""Costs that add up over the choices of a space, and the registry of costs."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from yacs.config import CfgNode

from crnas_d2.common.digests import text_digest
from crnas_d2.common.registry import Registry

from .genotype import Genotype
from .search_space import IMAGE_SIZE, Choice, SearchSpace

COST_REGISTRY = Registry("COST", "A cost")
"""Costs by their names in ``SEARCH.BUDGET`` and ``SEARCH.COSTS``; subclasses of :class:`Cost`."""


@dataclass(frozen=True)
class AdditiveCost:
    """The cost of each genotype of a space: the sum over its options plus a constant.

    Attributes:
        name: of the cost, e.g. ``MACS``; the key of its limits in ``SEARCH.BUDGET``.
        unit: for messages and tables, e.g. ``MACs``.
        options: by name of each choice, the cost of each option.
        base: the cost of the parts that all genotypes share.
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

    @property
    def mean(self) -> float:
        """The mean cost of genotypes each of whose active choices is sampled uniformly."""
        means = {name: sum(costs.values()) / len(costs) for name, costs in self.options.items()}
        total = self.base
        for root, children in self.space.groups:
            total += means[root.name]
            for child in children:
                active = sum(option in child.active_for for option in root.options)
                total += means[child.name] * active / len(root.options)
        return total

    def extreme(self, pick: Callable[..., Any]) -> dict[str, int]:
        """Return the values of the cheapest (``pick=min``) or most expensive genotype (``max``)."""
        # The best option of a child does not depend on its parent.
        best = {name: pick(costs, key=costs.get) for name, costs in self.options.items()}
        for root, children in self.space.groups:
            best[root.name], _ = self.extreme_of_group(root, children, pick)
        return self.space.active(best)

    def extreme_of_group(
        self, root: Choice, children: Sequence[Choice], pick: Callable[..., Any]
    ) -> tuple[int, float]:
        """Return the option of a root choice that is extreme with its children, and their cost."""
        totals = {
            option: sum(
                (pick(self.options[c.name].values()) for c in children if option in c.active_for),
                self.options[root.name][option],
            )
            for option in root.options
        }
        option = pick(totals, key=totals.__getitem__)
        return option, totals[option]

    @property
    def digest(self) -> str:
        """A hash that identifies these costs."""
        return text_digest(json.dumps([self.base, self.options], sort_keys=True), 64)


@dataclass(frozen=True)
class CostBySize(AdditiveCost):
    """The cost of each genotype of a space with image sizes: one additive cost per size.

    Attributes:
        tables: by image size, the cost in the space without that choice.
        options: none, because costs do not add up over image size and blocks.
    """

    options: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    tables: Mapping[int, AdditiveCost] = field(default_factory=dict)

    def of(self, values: Mapping[str, int]) -> float:
        blocks = {name: option for name, option in values.items() if name != IMAGE_SIZE}
        return self.tables[values[IMAGE_SIZE]].of(blocks)

    @property
    def mean(self) -> float:
        return sum(table.mean for table in self.tables.values()) / len(self.tables)

    def extreme(self, pick: Callable[..., Any]) -> dict[str, int]:
        ends = [{IMAGE_SIZE: s, **table.extreme(pick)} for s, table in self.tables.items()]
        chosen: dict[str, int] = pick(ends, key=self.of)
        return chosen

    @property
    def digest(self) -> str:
        tables = {size: table.digest for size, table in self.tables.items()}
        return text_digest(json.dumps(tables, sort_keys=True), 64)


class Cost(ABC):
    """A cost of a network that adds up over its blocks.

    A subclass is registered with ``@COST_REGISTRY.register("NAME")``. ``SEARCH.BUDGET.NAME`` then
    limits it, ``SEARCH.SECOND_OBJECTIVE: NAME`` minimizes it as second objective, and
    ``SEARCH.COSTS`` makes it a column of candidates.csv and of the report. To count a cost while
    the network runs on the meta device, subclass :class:`crnas_d2.cost.CountedCost`.

    Attributes:
        unit: for messages and tables, e.g. ``MACs``.
        example: valid limits, for messages.
    """

    name: str
    unit: str
    example: str = "[0, 1e6]"

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Return the arguments of the constructor; by default none."""
        return {}

    @abstractmethod
    def table(self, spec: Any, input_size: tuple[int, int]) -> AdditiveCost:
        """Return the cost of every genotype; raise ValueError for a network that has none.

        Args:
            spec: the :class:`crnas_d2.config.NetworkSpec` of a single-path supernet.
            input_size: (height, width) of the image, pixels.
        """
