"""Python's search for garbage, left out where nearly all that is made stays."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Make modules, networks and settings in a context: looking for garbage takes a sixth of it."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def garbage_among_the_new() -> Iterator[None]:
    """Leave what exists out of Python's search for garbage in a context.

    While a search scores candidates, its network, images and modules stay: looking through them
    takes a twentieth of the time.
    """
    gc.collect()  # else what was left behind before stays, too
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
