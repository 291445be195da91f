"""Rules for the values of a config: what is expected, in words and as a check."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Rule:
    """What is expected of a value, in words for the user, and the check."""

    words: str
    admits: Callable[[object], bool]
    names: tuple[str, ...] = ()


def whole(least: int, most: int | None = None) -> Rule:
    """Expect an int, which a bool is not."""
    words = f"a whole number of at least {least}"
    words += f" and at most {most}" if most is not None else ""

    def admits(value: object) -> bool:
        return type(value) is int and least <= value and (most is None or value <= most)

    return Rule(words, admits)


def number(words: str, admits: Callable[[float], bool]) -> Rule:
    """Expect a finite number that ``admits`` says yes to.

    Args:
        words: what it says yes to, after "a number".
    """

    def is_one(value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return math.isfinite(value) and admits(value)

    return Rule(f"a number {words}".strip(), is_one)


def list_of(each: Rule, what: str, *, least: int = 0, length: int | None = None) -> Rule:
    """Expect a list or tuple of a least or a fixed length.

    Args:
        what: the words of the rule.
    """

    def admits(value: object) -> bool:
        return (
            isinstance(value, Sequence)
            and not isinstance(value, str)
            and len(value) >= least
            and (length is None or len(value) == length)
            and all(map(each.admits, value))
        )

    return Rule(what, admits)


def increasing(rule: Rule) -> Rule:
    """Expect in addition that each item of a list is greater than the one before."""
    return Rule(
        f"{rule.words}, in increasing order",
        lambda value: rule.admits(value) and _is_increasing(value),
    )


def one_of(*names: str) -> Rule:
    """Expect one of some names."""
    return Rule(f"one of {', '.join(repr(name) for name in names)}", names.__contains__, names)


def _is_increasing(values: Any) -> bool:
    return list(values) == sorted(set(values))
