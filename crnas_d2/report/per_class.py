"""AP of each class."""

import math
from collections.abc import Mapping

from .page import Page

_MANY = 15  # classes, whose table would fill the page


def add_per_class(
    page: Page, networks: Mapping[str, Mapping[str, float]], task: str = "bbox"
) -> None:
    """Add a table with the AP of each class, the hardest first; nothing without such metrics.

    Args:
        networks: metrics of each network, by its name.
    """
    prefix = f"{task}/AP-"
    names = dict.fromkeys(
        name.removeprefix(prefix)
        for metrics in networks.values()
        for name, value in metrics.items()
        if name.startswith(prefix) and math.isfinite(value)
    )
    if len(names) < 2:  # of a single class, it is the AP
        return
    scores = {
        name: [metrics.get(prefix + name, math.nan) for metrics in networks.values()]
        for name in names
    }
    hardest = sorted(scores, key=lambda name: sum(v for v in scores[name] if math.isfinite(v)))
    page.heading("AP of each class")
    page.text(f"The hardest: {', '.join(hardest[:3])}; the easiest: {hardest[-1]}.")
    rows = [[name, *scores[name]] for name in hardest]
    many = len(rows) > _MANY
    page.table(["class", *networks], rows, folded=f"all {len(rows)} classes" if many else "")
