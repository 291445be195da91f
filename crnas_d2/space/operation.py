"""What a block may do: the options of an operation space."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Operation:
    """One operation of a block: it changes a finished block, or builds one.

    The ``make_stage`` of its family calls :attr:`make`, or builds the block itself and calls
    :attr:`change`.

    Attributes:
        name: for messages, tables and reports, e.g. ``dilation 2``.
        change: changes a finished block in place, whatever it was changed to before, and keeps the
            shapes of its parameters. If all operations do so, they can share the weights of one
            block.
        make: builds the block, from the arguments with which its family calls it.
    """

    name: str
    change: Callable[[Any], None] | None = None
    make: Callable[..., Any] | None = None
