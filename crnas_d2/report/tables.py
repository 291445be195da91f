"""Parts that several pages have: tables without columns that tell nothing, the AP of each class."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from crnas_d2.common.formats import format_cell

from .page import Page


def without_constant_columns(
    head: Sequence[str], rows: Sequence[Sequence[Any]], constant_kept: Sequence[str] = ()
) -> tuple[list[str], list[list[Any]], str]:
    """Leave out the columns of a table that tell nothing.

    Args:
        constant_kept: columns that stay even if all rows have the same value. No column stays in
            which all cells are empty or NaN, and of a single row all others stay.

    Returns:
        head, rows, and what is the same for all rows as a sentence, or "".
    """
    kept, same = [], []
    for column, name in enumerate(head):
        values = [row[column] for row in rows]
        if all(value in ("", "nan", "failed", None) or value != value for value in values):
            continue  # NaN differs from itself
        if len(rows) > 1 and len(set(map(str, values))) == 1 and name not in constant_kept:
            same.append(f"{name} {format_cell(values[0])}")
        else:
            kept.append(column)
    sentence = f"The same for all of them: {', '.join(same)}." if same else ""
    return [head[c] for c in kept], [[row[c] for c in kept] for row in rows], sentence


def add_per_class(
    page: Page, networks: Mapping[str, Mapping[str, float]], task: str = "bbox"
) -> None:
    """Add a table of the AP of each class, the hardest first, if the networks' metrics have it."""
    prefix = f"{task}/AP-"
    found = [item for metrics in networks.values() for item in metrics.items()]
    names = dict.fromkeys(
        name for name, value in found if name.startswith(prefix) and math.isfinite(value)
    )
    if len(names) < 2:  # of a single class, it is the AP
        return
    scores = {
        name.removeprefix(prefix): [m.get(name, math.nan) for m in networks.values()]
        for name in names
    }
    hardest = sorted(scores, key=lambda name: sum(v for v in scores[name] if math.isfinite(v)))
    page.heading("AP of each class")
    page.text(f"The hardest: {', '.join(hardest[:3])}; the easiest: {hardest[-1]}.")
    rows = [[name, *scores[name]] for name in hardest]
    folded = f"all {len(rows)} classes" if len(rows) > 15 else ""  # it would fill the page
    page.table(["class", *networks], rows, folded=folded)
