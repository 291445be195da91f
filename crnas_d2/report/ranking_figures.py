"""Figures 5 and 6 of CR-NAS for any networks: AP against MACs, and against other scores."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from crnas_d2.runs.ranking import (
    Ranking,
    correlation_table,
    describe_spread,
    network_table,
    plain,
    score_of,
)
from crnas_d2.space import Genotype

from .page import Page

_SIZE = 4.2  # inches, of a panel
_COLUMNS = 2
_POINT, _MARK = "#3182bd", "#d94801"


def write_ranking(ranking: Ranking, marks: Mapping[str, Genotype], output: Path) -> None:
    """Write a page with tables and figures, or the figures alone.

    Args:
        marks: networks to name in the figures, e.g. the baseline and the found one.
        output: a name that ends with ``.html``, or with a format of pictures.

    Raises:
        ValueError: a marked network is not among those of the ranking.
    """
    marks = {name: plain(genotype) for name, genotype in marks.items()}
    for name, genotype in marks.items():
        if genotype not in ranking.runs:
            raise ValueError(
                f"{name}, {genotype}, is not among the {len(ranking.runs)} trained networks: train "
                "it too, or leave it out."
            )
    figure = draw_ranking(ranking, marks)
    output.parent.mkdir(parents=True, exist_ok=True)
    if output.suffix.lower() != ".html":
        figure.savefig(output, dpi=150, facecolor="white")
        return
    page = Page("Networks trained by themselves")
    page.text(describe_spread(ranking))
    page.figure(figure, f"{ranking.label} against MACs and other scores")
    page.text(
        "Each point is one network, the mean of its seeds; a bar spans its seeds. Rank "
        "correlations, with 95 % intervals over resampled networks:"
    )
    rows, head = correlation_table(ranking)
    page.table(head, rows)
    rows, head = network_table(ranking, {genotype: name for name, genotype in marks.items()})
    page.table(head, rows)
    page.write(output)


def draw_ranking(ranking: Ranking, marks: Mapping[str, Genotype]) -> Figure:
    """Draw the result of each network against its MACs and against each other ranking.

    Args:
        marks: as for :func:`write_ranking`.
    """
    correlations = ranking.correlations()
    shown = [
        name
        for name, values in ranking.rivals.items()
        if name in ("MACs", *correlations) and name != "parameters" and values
    ]
    columns = min(_COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(_SIZE * columns, 0.85 * _SIZE * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, name in zip(panels, shown, strict=False):
        _scatter(axes, ranking, name, marks)
        if name in correlations:
            found = correlations[name]
            axes.set_title(f"tau {found.tau_text}, rho {found.rho_text}", fontsize=8)
    for axes in panels[len(shown) :]:
        axes.set_axis_off()
    return figure


def _scatter(axes: Axes, ranking: Ranking, rival: str, marks: Mapping[str, Genotype]) -> None:
    values, truth = ranking.rivals[rival], ranking.truth
    names = {genotype: name for name, genotype in marks.items()}
    common = [values[genotype] for genotype in ranking.common(rival)]
    middle = (min(common) + max(common)) / 2
    for genotype in ranking.common(rival):
        x, scores = values[genotype], [score_of(r, ranking.metric) for r in ranking.runs[genotype]]
        is_marked = genotype in names
        colour = _MARK if is_marked else _POINT
        axes.plot([x, x], [min(scores), max(scores)], color=colour, alpha=0.5, linewidth=1)
        axes.plot(x, np.mean(scores), "*" if is_marked else "o", color=colour, alpha=0.8)
        if is_marked:
            is_right = x > middle  # its name goes to the left, into the panel
            axes.annotate(
                names[genotype],
                (x, truth[genotype]),
                xytext=(-5 if is_right else 5, 4),
                textcoords="offset points",
                ha="right" if is_right else "left",
                fontsize=8,
                color=_MARK,
            )
    if rival == "MACs":
        axes.xaxis.set_major_formatter(EngFormatter())
    axes.set(xlabel="MACs (body)" if rival == "MACs" else rival, ylabel=ranking.label)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.margins(x=0.12, y=0.1)
    axes.grid(alpha=0.3)
