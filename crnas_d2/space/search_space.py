"""A search space: ordered, named choices, and the budgets that make a genotype eligible."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from math import prod
from random import Random

from .budget import Budget, affordable
from .genotype import Genotype
from .share import NOTHING, Share, share_within

__all__ = ["RARE", "Choice", "SearchSpace", "check_budgets"]

logger = logging.getLogger(__name__)

# A smaller part of the space within the limits is warned of: of 10,000 draws, not one may be in it.
RARE = 1e-4


@dataclass(frozen=True)
class Choice:
    """One thing that may vary.

    Attributes:
        name: unique in its space, e.g. ``res4.depth``; the name of the parameter in a study.
        options: the values it may take, e.g. numbers of blocks.
    """

    name: str
    options: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.options or len(set(self.options)) != len(self.options):
            raise ValueError(
                f"{self.name} has the options {list(self.options)}; "
                "expected at least one, and none of them twice."
            )


@dataclass(frozen=True)
class SearchSpace:
    """The set of genotypes that a supernet can run.

    Attributes:
        kind: what varies, a value of ``MODEL.SUPERNET.SPACE``.
        field: the field of :class:`Genotype` that holds the chosen values.
        choices: in the order in which the genotype lists them.
        base: what every genotype of the space has in common, e.g. the depths that a stage search
            has found.
    """

    kind: str
    field: str
    choices: tuple[Choice, ...]
    base: Genotype = field(default_factory=Genotype)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(choice.name for choice in self.choices)

    @property
    def size(self) -> int:
        """Number of genotypes, eligible or not."""
        return prod(len(choice.options) for choice in self.choices)

    def __iter__(self) -> Iterator[Genotype]:
        """All genotypes, eligible or not, in lexicographic order of the options."""
        for chosen in product(*(choice.options for choice in self.choices)):
            yield self._with(chosen)

    def genotype(self, values: Mapping[str, int]) -> Genotype:
        """The genotype in which every choice, by its name, takes the given option.

        Values of the first choices alone give a partial genotype.
        """
        assert set(self.names[: len(values)]) == set(values), (self.names, values)
        return self._with(values[name] for name in self.names[: len(values)])

    def values(self, genotype: Genotype, *, partial: bool = False) -> dict[str, int]:
        """The option that ``genotype`` takes of every choice, by its name.

        Args:
            partial: accept a genotype that decides on the first choices only.
        """
        self.validate(genotype, partial=partial)
        return dict(zip(self.names, getattr(genotype, self.field), strict=not partial))

    def is_complete(self, genotype: Genotype) -> bool:
        """Whether a genotype decides on every choice."""
        return len(getattr(genotype, self.field)) == len(self.choices)

    def complete(self, partial: Genotype, random: Random) -> Genotype:
        """Draws the choices that a partial genotype leaves open, each uniformly.

        Equal states of ``random`` complete two partial genotypes of one length equally.
        """
        drawn = tuple(random.choice(choice.options) for choice in self.choices)
        decided = tuple(self.values(partial, partial=True).values())
        return self._with(decided + drawn[len(decided) :])

    def _with(self, chosen: Iterable[int]) -> Genotype:
        return replace(self.base, **{self.field: tuple(chosen)})

    def validate(self, genotype: Genotype, *, partial: bool = False) -> None:
        """Refuses a genotype that this space does not hold.

        Raises:
            ValueError: with the offending value and what is allowed.
        """
        key = f"MODEL.GENOTYPE.{self.field.upper()}"
        chosen = getattr(genotype, self.field)
        if len(chosen) > len(self.choices) or (len(chosen) < len(self.choices) and not partial):
            raise ValueError(
                f"{key} is {list(chosen)}, which has {len(chosen)} values; the {self.kind} space "
                f"has {len(self.choices)} choices ({', '.join(self.names)})."
            )
        for choice, value in zip(self.choices, chosen, strict=not partial):
            if value not in choice.options:
                raise ValueError(
                    f"{key} is {list(chosen)}: {value} is no option of {choice.name}; "
                    f"the {self.kind} space allows {list(choice.options)}."
                )

    def admits(self, genotype: Genotype, budgets: Sequence[Budget]) -> bool:
        """Whether a complete genotype is within all budgets."""
        chosen = getattr(genotype, self.field)
        return all(budget.admits(chosen) for budget in budgets)

    def eligible(self, budgets: Sequence[Budget] = ()) -> list[Genotype]:
        """All genotypes within all budgets, in lexicographic order.

        Raises:
            ValueError: there is none; the message gives the costs that can be reached.
        """
        found = [self._with(chosen) for chosen in affordable(self._options, budgets)]
        if not found:
            raise ValueError(_explain(self, budgets))
        return found

    def share(self, budgets: Sequence[Budget]) -> Share:
        """The part of all genotypes that is within all budgets, see :func:`share_within`."""
        return share_within(self._options, budgets)

    @property
    def _options(self) -> list[tuple[int, ...]]:
        return [choice.options for choice in self.choices]


def check_budgets(space: SearchSpace, budgets: Sequence[Budget]) -> list[str]:
    """Refuses limits that no genotype meets, and warns of those that hardly one meets.

    In a large space, limits that cannot be met together, or a range of latencies that none has,
    may only be warned of: the part of the space within them is estimated there.

    Returns:
        for the log, a line per budget, and one for all together where there are several.

    Raises:
        ValueError: nothing is within the budgets, with the costs that can be reached.
    """
    shares = [space.share((budget,)) for budget in budgets]
    together = shares[0] if len(budgets) == 1 else space.share(budgets)
    if NOTHING in (*shares, together):
        raise ValueError(_explain(space, budgets))
    lines = [budget.describe(share) for budget, share in zip(budgets, shares, strict=True)]
    if len(budgets) > 1:
        lines.append(f"{together} of the space within these limits together")
    if together.value < RARE:
        logger.warning(
            "Hardly a genotype is within SEARCH.BUDGET, and a search may take long to find one: "
            "%s. Widen the limits.",
            "; ".join(lines),
        )
    return lines


def _explain(space: SearchSpace, budgets: Sequence[Budget]) -> str:
    """Why no genotype is within all budgets."""
    shares = [space.share((budget,)) for budget in budgets]
    for budget, share in zip(budgets, shares, strict=True):
        if share == NOTHING:
            return budget.explain()
    each = "; ".join(b.describe(share) for b, share in zip(budgets, shares, strict=True))
    return (
        f"No genotype is within all limits of SEARCH.BUDGET, each of which some meet: {each}. "
        "Widen one of them, or set it to []."
    )
