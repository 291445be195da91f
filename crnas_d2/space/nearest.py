"""Names that look like one with a typo."""

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["did_you_mean"]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a sentence with the known names nearest to one, or nothing if none is near."""
    by_lower = {word.lower(): word for word in known}
    near = [by_lower[word] for word in get_close_matches(str(name).lower(), by_lower, n=3)]
    return f" Did you mean {' or '.join(near)}?" if near else ""
