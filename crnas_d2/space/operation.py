"""What a block may do: the options of an operation space."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Operation"]


@dataclass(frozen=True)
class Operation:
    """One operation of a block, by what it changes in a block or by how it makes one.

    Its family's ``make_stage`` calls :attr:`make`, or makes the block itself and calls
    :attr:`change`.

    Attributes:
        name: for messages, tables and reports, e.g. ``dilation 2``.
        change: changes a finished block in place, whatever it was changed to before, and leaves
            the shapes of its parameters as they are. Operations that all do so can share the
            weights of one block.
        make: makes the block, from the arguments with which its family calls it.
    """

    name: str
    change: Callable[[Any], None] | None = None
    make: Callable[..., Any] | None = None
