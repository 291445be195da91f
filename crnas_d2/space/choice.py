"""Choices: what varies in a search space."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod


@dataclass(frozen=True)
class Choice:
    """One thing that varies.

    Attributes:
        name: unique in its space, e.g. ``res4.depth``; also the parameter name in a study.
        options: the values it may take, e.g. numbers of blocks.
        field: the field of :class:`Genotype` that lists its value.
        stage: the stage that it belongs to.
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
            raise ValueError(
                f"{self.name} has the options {list(self.options)}; "
                "expected at least one, without duplicates."
            )

    def is_active(self, values: Mapping[str, int]) -> bool:
        """Whether the choice exists, given the values of all earlier choices."""
        return not self.parent or values.get(self.parent) in self.active_for


def active_choices(choices: Sequence[Choice], values: Mapping[str, int]) -> list[Choice]:
    """Return the choices that are active with these values."""
    return [choice for choice in choices if choice.is_active(values)]


def groups(choices: Sequence[Choice]) -> Iterator[tuple[Choice, list[Choice]]]:
    """Yield each choice without a parent, with those that depend on it."""
    for choice in choices:
        if not choice.parent:
            yield choice, [child for child in choices if child.parent == choice.name]


def num_completions(option: int, children: Sequence[Choice]) -> int:
    """Return the number of ways to decide the children of a choice that takes ``option``."""
    return prod(len(child.options) for child in children if option in child.active_for)
