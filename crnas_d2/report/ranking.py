"""Tables and figures of a ranking; figures 5 and 6 of CR-NAS for any networks."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator
from tabulate import tabulate

from crnas_d2.common.formats import format_quantity
from crnas_d2.runs.ranking import MACS, PARAMETERS, Ranking
from crnas_d2.runs.results import plain
from crnas_d2.space import Genotype

from .page import Page
from .pictures import write_figure

_SIZE = 4.2  # inches, of a panel
_POINT, _MARK = "#3182bd", "#d94801"

Table = tuple[list[str], list[list[str]]]


def describe_ranking(ranking: Ranking) -> str:
    """Describe stand-alone trainings: noise of seeds, spread, and how well others rank them."""
    tables = _table(ranking, {}), _correlation_table(ranking)
    texts = [tabulate(rows, headers=head, disable_numparse=True) for head, rows in tables]
    return "\n\n".join([_describe_spread(ranking), *texts])


def write_ranking(ranking: Ranking, marks: Mapping[str, Genotype], output: Path) -> None:
    """Write a page (``.html``) with tables and figures, or a picture of the figures alone.

    Args:
        marks: networks of the ranking to name in the figures, e.g. the baseline and the found one.
    """
    names = {plain(genotype): name for name, genotype in marks.items()}
    for genotype, name in names.items():
        if genotype not in ranking.runs:
            among = f"the {len(ranking.runs)} trained networks: train it too, or leave it out."
            raise ValueError(f"{name}, {genotype}, is not among {among}")
    figure = draw_ranking(ranking, names)
    if output.suffix.lower() != ".html":
        write_figure(figure, output)
        return
    page = Page("Networks trained by themselves")
    page.text(_describe_spread(ranking))
    page.figure(figure, f"{ranking.label} against MACs and other scores")
    page.text(
        "Each point is one network, the mean of its seeds; a bar spans its seeds. Rank "
        "correlations, with 95 % intervals over resampled networks:"
    )
    page.table(*_correlation_table(ranking))
    page.table(*_table(ranking, names))
    page.write(output)


def _describe_spread(ranking: Ranking) -> str:
    noise, freedom = ranking.noise
    spread = f"standard deviation of their means {ranking.spread:.2f} {ranking.label}"
    text = f"{len(ranking.runs)} networks, {spread}."
    if freedom:
        deviation = f"pooled standard deviation {noise:.2f} {ranking.label}"
        text += f" One run: {deviation} ({freedom} degrees of freedom)."
    if ranking.without_result:
        text += f" Left out: {ranking.without_result} trainings without a finite result."
    return text


def _correlation_table(ranking: Ranking) -> Table:
    head = ["ranked by", "networks", "Kendall's tau [95 %]", "Spearman's rho [95 %]"]
    found = ranking.correlations().items()
    return head, [[name, str(c.number), c.tau_text, c.rho_text] for name, c in found]


def _table(ranking: Ranking, names: Mapping[Genotype, str]) -> Table:
    """Return head and rows of the table of networks, the best first, some of them named."""
    truth, costs = ranking.truth, (MACS, PARAMETERS)
    rivals = {name: scores for name, scores in ranking.rivals.items() if name not in costs}
    rows = [
        [
            f"{names[genotype]}: {genotype}" if genotype in names else str(genotype),
            f"{truth[genotype]:.2f}",
            ", ".join(f"{score:.2f}" for score in ranking.scores(genotype)),
            *(f"{s[genotype]:.2f}" if genotype in s else "" for s in rivals.values()),
            *(format_quantity(ranking.rivals[cost][genotype]) for cost in costs),
        ]
        for genotype in sorted(ranking.runs, key=lambda genotype: -truth[genotype])
    ]
    return ["network", f"mean {ranking.label}", "by seed", *rivals, *costs], rows


def draw_ranking(ranking: Ranking, names: Mapping[Genotype, str]) -> Figure:
    """Draw the result of each network against MACs and each other ranking; mark named ones."""
    correlations = ranking.correlations()
    wanted = {MACS, *correlations} - {PARAMETERS}
    shown = [name for name, values in ranking.rivals.items() if name in wanted and values]
    columns = min(2, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(_SIZE * columns, 0.85 * _SIZE * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, rival in zip(panels, shown, strict=False):
        if found := correlations.get(rival):
            axes.set_title(f"tau {found.tau_text}, rho {found.rho_text}", fontsize=8)
        values = {genotype: ranking.rivals[rival][genotype] for genotype in ranking.common(rival)}
        middle = (min(values.values()) + max(values.values())) / 2
        for genotype, x in values.items():
            scores, name = ranking.scores(genotype), names.get(genotype)
            mean, colour = float(np.mean(scores)), _MARK if name else _POINT
            axes.plot([x, x], [min(scores), max(scores)], color=colour, alpha=0.5, linewidth=1)
            axes.plot(x, mean, "*" if name else "o", color=colour, alpha=0.8)
            if name:  # in the right half it goes to the left, into the panel
                style = {"ha": "right" if x > middle else "left", "fontsize": 8, "color": _MARK}
                shift = (-5 if x > middle else 5, 4)
                axes.annotate(name, (x, mean), shift, textcoords="offset points", **style)
        if rival == MACS:
            axes.xaxis.set_major_formatter(EngFormatter())
        axes.set(xlabel="MACs (body)" if rival == MACS else rival, ylabel=ranking.label)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.margins(x=0.12, y=0.1)
        axes.grid(alpha=0.3)
    for axes in panels[len(shown) :]:
        axes.set_axis_off()
    return figure
