"""A search space: ordered, named choices, which may depend on each other."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from random import Random
from typing import Any

from crnas_d2.common.errors import invalid

from .genotype import Genotype

IMAGE_SIZE = "image_size"  # the name of its choice, and its field


@dataclass(frozen=True)
class Choice:
    """One thing that varies.

    Attributes:
        name: unique in its space, e.g. ``res4.depth``; also the parameter name in a study.
        options: the values it may take, e.g. numbers of blocks.
        field: the field of :class:`Genotype` that lists its value.
        block: index of the block in the stage, for a choice of one block.
        parent: name of an earlier choice on which it depends; empty: none.
        active_for: the options of the parent with which the choice exists, e.g. the depths of a
            stage that include this block.
    """

    name: str
    options: tuple[int, ...]
    field: str
    stage: str = ""
    block: int | None = None
    parent: str = ""
    active_for: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.options or len(set(self.options)) != len(self.options):
            options = list(self.options)
            raise invalid(f"{self.name}.options", options, "at least one, without duplicates")

    def is_active(self, values: Mapping[str, int]) -> bool:
        """Whether the choice exists, given the values of all earlier choices."""
        return not self.parent or values.get(self.parent) in self.active_for


def active_choices(choices: Sequence[Choice], values: Mapping[str, int]) -> list[Choice]:
    """Return the choices that are active with these values."""
    return [choice for choice in choices if choice.is_active(values)]


def num_completions(option: int, children: Sequence[Choice]) -> int:
    """Return the number of ways to decide the children of a choice that takes ``option``."""
    return prod(len(child.options) for child in children if option in child.active_for)


@dataclass(frozen=True)
class SearchSpace:
    """The set of genotypes that a supernet can run.

    A choice may depend on an earlier one: in a joint space, a block has an operation only if the
    depth of its stage includes the block. Values are given by name of the choice, without those of
    inactive choices.

    Attributes:
        kind: what varies, a value of ``MODEL.SUPERNET.SPACE``.
        choices: in the order in which the fields of a genotype list their values.
        base: what all genotypes have in common, e.g. the depths that a stage search found.
    """

    kind: str
    choices: tuple[Choice, ...]
    base: Genotype = field(default_factory=Genotype)

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(choice.name for choice in self.choices)

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """The fields of a genotype that this space decides."""
        return tuple(dict.fromkeys(choice.field for choice in self.choices))

    @cached_property
    def groups(self) -> tuple[tuple[Choice, list[Choice]], ...]:
        """Each choice that depends on no other, with those that depend on it."""
        return tuple(
            (root, [child for child in self.choices if child.parent == root.name])
            for root in self.choices
            if not root.parent
        )

    def with_image_sizes(self, sizes: Sequence[int]) -> "SearchSpace":
        """Return this space with the image size as its first choice; itself without sizes."""
        if not sizes:
            return self
        choice = Choice(IMAGE_SIZE, tuple(sizes), field=IMAGE_SIZE)
        return replace(self, choices=(choice, *self.choices))

    @property
    def is_conditional(self) -> bool:
        """Whether some choices depend on others."""
        return any(choice.parent for choice in self.choices)

    @property
    def size(self) -> int:
        """Number of genotypes, feasible or not."""
        return prod(
            sum(num_completions(option, children) for option in root.options)
            for root, children in self.groups
        )

    def __iter__(self) -> Iterator[Genotype]:
        """Yield all genotypes, feasible or not, in lexicographic order of the options."""

        def extend(index: int, values: dict[str, int]) -> Iterator[Genotype]:
            if index == len(self.choices):
                yield self.genotype(values)
            elif not (choice := self.choices[index]).is_active(values):
                yield from extend(index + 1, values)
            else:
                for option in choice.options:
                    yield from extend(index + 1, {**values, choice.name: option})

        yield from extend(0, {})

    def genotype(self, values: Mapping[str, int]) -> Genotype:
        """Return the genotype in which every active choice, by name, takes the given option.

        Values of the first choices only give a partial genotype.
        """
        decided = active_choices(self.choices, values)[: len(values)]
        assert {choice.name for choice in decided} == set(values), (self.names, values)
        fields: dict[str, list[int]] = {name: [] for name in self.fields}
        for choice in decided:
            fields[choice.field].append(values[choice.name])
        taken: dict[str, Any] = {name: tuple(options) for name, options in fields.items()}
        return replace(self.base, **taken)

    def values(self, genotype: Genotype, *, partial: bool = False) -> dict[str, int]:
        """Return the option that ``genotype`` takes for every active choice, by name.

        Raise ValueError for one outside the space; ``partial`` genotypes, which decide only the
        first choices, are accepted on request.
        """

        def refused(field: str, words: str) -> ValueError:
            given = list(getattr(genotype, field))
            return ValueError(f"MODEL.GENOTYPE.{field.upper()} is {given}{words}")

        values: dict[str, int] = {}
        # The active choices of each field, in order: the n-th takes the n-th entry of the field.
        active: dict[str, list[str]] = {name: [] for name in self.fields}
        open_choice = ""  # the first one without an entry
        for choice in self.choices:
            if not choice.is_active(values):
                continue
            given = getattr(genotype, choice.field)
            place = len(active[choice.field])
            active[choice.field].append(choice.name)
            if place >= len(given):
                # Too few entries: an error unless a partial genotype is accepted, see below.
                open_choice = open_choice or choice.name
                continue
            # With several fields, one may end before another: that is not a prefix.
            if open_choice and partial:
                words = f", which decides on {choice.name} and leaves {open_choice} open; a partial"
                raise refused(choice.field, f"{words} genotype decides on the first choices only.")
            if given[place] not in choice.options:
                words = f": {given[place]} is not an option of {choice.name}; the {self.kind} space"
                raise refused(choice.field, f"{words} allows {list(choice.options)}.")
            values[choice.name] = given[place]
        for name, names in active.items():
            given = getattr(genotype, name)
            if len(given) > len(names) or (len(given) < len(names) and not partial):
                words = f", which has {len(given)} values; the {self.kind} space has {len(names)}"
                raise refused(name, f"{words} choices ({', '.join(names)}).")
        return values

    def validate(self, genotype: Genotype, *, partial: bool = False) -> None:
        """Raise ValueError for a genotype outside the space, see :meth:`values`."""
        self.values(genotype, partial=partial)

    def is_complete(self, genotype: Genotype) -> bool:
        """Whether a genotype decides every active choice."""
        values = self.values(genotype, partial=True)
        return len(active_choices(self.choices, values)) == len(values)

    def complete(self, partial: Genotype, random: Random) -> Genotype:
        """Sample the choices that a partial genotype leaves open, each uniformly.

        With the same state of ``random``, two prefixes of the same length get the same completion.
        """
        # Also those that are decided, so that the samples do not depend on them.
        sampled = {choice.name: random.choice(choice.options) for choice in self.choices}
        return self.genotype(self.active({**sampled, **self.values(partial, partial=True)}))

    def sample(self, random: Random) -> Genotype:
        """Sample every choice uniformly."""
        return self.complete(self.base, random)

    def active(self, values: Mapping[str, int]) -> dict[str, int]:
        """Return the values whose choices are active."""
        return {c.name: values[c.name] for c in active_choices(self.choices, values)}
