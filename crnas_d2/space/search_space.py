"""A search space: ordered, named choices, and the budget that makes a genotype eligible."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from math import prod
from random import Random

from .budget import Budget
from .genotype import Genotype

__all__ = ["Choice", "SearchSpace"]


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

    def eligible(self, budget: Budget | None) -> list[Genotype]:
        """All genotypes within the budget, in lexicographic order.

        Raises:
            ValueError: there is none; the message gives the costs that can be reached.
        """
        if budget is None:
            return list(self)
        found = [
            self._with(chosen)
            for chosen in budget.affordable([choice.options for choice in self.choices])
        ]
        if not found:
            raise ValueError(budget.explain([choice.options for choice in self.choices]))
        return found
