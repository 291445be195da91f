"""A search space: ordered, named choices, and the budget that makes a genotype eligible."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

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
    """

    kind: str
    field: str
    choices: tuple[Choice, ...]

    def genotype(self, values: Mapping[str, int]) -> Genotype:
        """The genotype in which every choice, by its name, takes the given option."""
        chosen = tuple(values[choice.name] for choice in self.choices)
        return Genotype(**{self.field: chosen})

    def values(self, genotype: Genotype) -> dict[str, int]:
        """The option that ``genotype`` takes of every choice, by its name."""
        self.validate(genotype)
        return dict(zip(self.names, getattr(genotype, self.field), strict=True))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(choice.name for choice in self.choices)

    def __iter__(self) -> Iterator[Genotype]:
        """All genotypes, eligible or not, in lexicographic order of the options."""
        for chosen in product(*(choice.options for choice in self.choices)):
            yield Genotype(**{self.field: chosen})

    def validate(self, genotype: Genotype) -> None:
        """Refuses a genotype that this space does not hold.

        Raises:
            ValueError: with the offending value and what is allowed.
        """
        key = f"MODEL.GENOTYPE.{self.field.upper()}"
        chosen = getattr(genotype, self.field)
        if len(chosen) != len(self.choices):
            raise ValueError(
                f"{key} is {list(chosen)}, which has {len(chosen)} values; the {self.kind} space "
                f"has {len(self.choices)} choices ({', '.join(self.names)})."
            )
        for choice, value in zip(self.choices, chosen, strict=True):
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
            Genotype(**{self.field: chosen})
            for chosen in budget.affordable([choice.options for choice in self.choices])
        ]
        if not found:
            raise ValueError(budget.explain([choice.options for choice in self.choices]))
        return found
