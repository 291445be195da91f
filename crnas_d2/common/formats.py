"""Numbers and lists as people read them."""

from collections.abc import Iterable

_GIB, _MIB = 2**30, 2**20


def format_size(num_bytes: float | None) -> str:
    if num_bytes is None:
        return "unknown"
    if num_bytes >= _GIB:
        return f"{num_bytes / _GIB:.1f} GiB"
    return f"{max(1, round(num_bytes / _MIB))} MiB"


def format_few(names: Iterable[object], most: int = 3) -> str:
    """Return the first names, separated by commas, and an ellipsis if there are more."""
    texts = [str(name) for name in names]
    return ", ".join(texts[:most]) + (", ..." if len(texts) > most else "")
