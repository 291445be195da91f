"""The pictures of a search: all candidates by rank, by cost, by choice, and by level."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from crnas_d2.runs.search_result import SearchResult, fitness_of
from crnas_d2.search import Candidate
from crnas_d2.space import AdditiveCost, Genotype

_BEST, _OTHER, _LINE, _INTERVAL = "#238b45", "#9aa5b1", "#08519c", "#d0d7de"
_TIED, _STOPPED = "cannot be told apart from the best", "stopped early (estimate)"
# By group of candidates, from the back to the front.
_STYLES: dict[str, Any] = {
    _STOPPED: {"color": _OTHER, "s": 14, "marker": "x", "linewidths": 0.8},
    "candidate": {"color": _OTHER, "s": 14},
    _TIED: {"color": "#3182bd", "s": 18},
    "best": {"color": _BEST, "s": 60, "marker": "D"},
    "baseline": {"color": "#d94801", "s": 70, "marker": "s"},
}


def draw_distribution(result: SearchResult) -> Figure:
    """Draw the fitness of the candidates by rank, with their intervals where they are known."""
    figure = Figure(figsize=(9, 3.5))
    axes = figure.add_subplot()
    ranks = {candidate.genotype: rank for rank, candidate in enumerate(result.complete, start=1)}
    intervals = result.noise.intervals if result.noise is not None else {}
    for genotype, rank in ranks.items():
        if genotype in intervals:
            axes.plot([rank, rank], intervals[genotype], color=_INTERVAL, zorder=1)
    _scatter(axes, result, result.complete, ranks)
    if intervals:
        axes.plot([], [], color=_INTERVAL, label="95 % interval")
    axes.set(xlabel="rank", ylabel=result.metric)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _finish(axes)
    return figure


def draw_tradeoff(result: SearchResult, cost: AdditiveCost) -> Figure:
    """Draw fitness against cost, with the Pareto front as a line."""
    figure = Figure(figsize=(9, 4))
    axes = figure.add_subplot()
    places = {c.genotype: cost(c.genotype) for c in result.complete}
    front = [(places[c.genotype], fitness_of(c)) for c in result.pareto_front(cost)]
    axes.step(*zip(*front, strict=True), where="post", color=_LINE, label="Pareto front", zorder=1)
    _scatter(axes, result, result.complete, places)
    axes.set(xlabel=cost.unit, ylabel=result.metric)
    axes.xaxis.set_major_formatter(EngFormatter())
    _finish(axes)
    return figure


def draw_levels(result: SearchResult) -> Figure:
    """Draw a column per length of the prefix, labelled with what the best genotype chose there."""
    figure = Figure(figsize=(9, 3.5))
    axes = figure.add_subplot()
    space = result.space
    decided = [(space.values(c.genotype, partial=True), fitness_of(c)) for c in result.succeeded]
    points = [(len(values), fitness) for values, fitness in decided]
    axes.plot(*zip(*points, strict=True), ".", color=_OTHER, label="prefix")
    chosen = space.values(result.complete[0].genotype)
    path = sorted((len(v), fitness) for v, fitness in decided if v.items() <= chosen.items())
    axes.plot(*zip(*path, strict=True), ".-", color=_BEST, label="of the best genotype")
    axes.set_xticks([level for level, _ in path])
    names = [f"{name} {option}" for name, option in chosen.items()]
    axes.set_xticklabels([names[level - 1] for level, _ in path], rotation=90, fontsize=7)
    axes.set_ylabel(result.metric)
    _finish(axes)
    return figure


def draw_by_choice(result: SearchResult) -> Figure:
    """Draw fitness against the option that each choice took, with the mean of each option."""
    varied = [choice for choice in result.space.choices if len(choice.options) > 1]
    values = {c.genotype: result.space.values(c.genotype) for c in result.complete}
    columns = min(len(varied), 4)
    rows = -(-len(varied) // columns)
    figure = Figure(figsize=(9, 2.6 * rows + 0.5), layout="constrained")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axes in panels.flat[len(varied) :]:
        axes.set_visible(False)
    for axes, choice in zip(panels.flat, varied, strict=False):
        # None where the choice is not active, e.g. the operation of a block that is not there.
        taken = {genotype: chosen.get(choice.name) for genotype, chosen in values.items()}
        active = [c for c in result.complete if taken[c.genotype] is not None]
        options = np.array([taken[candidate.genotype] for candidate in active])
        fitness = np.array([fitness_of(candidate) for candidate in active])
        present = np.unique(options)
        means = [fitness[options == option].mean() for option in present]
        axes.plot(present, means, color=_LINE, label="mean of the option", zorder=1)
        _scatter(axes, result, active, taken)
        axes.set_xlabel(choice.name)
        if len(present) <= 10:  # else ticks for some of the whole numbers
            axes.set_xticks(present)
        else:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    for axes in panels[:, 0]:
        axes.set_ylabel(result.metric)
    handles = {
        label: handle
        for axes in panels.flat[: len(varied)]
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    place: dict[str, Any] = {"loc": "outside lower center", "ncols": len(handles), "fontsize": 8}
    figure.legend(list(handles.values()), list(handles), **place)
    return figure


def _scatter(
    axes: Axes, result: SearchResult, candidates: Sequence[Candidate], x_of: Mapping[Genotype, Any]
) -> None:
    """Draw a dot per candidate: the best of all, those it cannot be told from, the baseline."""
    groups: dict[str, list[Candidate]] = {group: [] for group in _STYLES}
    baseline, noise = result.baseline, result.noise
    for candidate in reversed(candidates):
        group = "candidate" if candidate.images is None else _STOPPED
        if noise is not None and noise.is_tied(candidate.genotype):
            group = "best" if candidate.genotype == noise.best else _TIED
        if baseline is not None and candidate.genotype == baseline.genotype:
            group = "baseline"
        groups[group].append(candidate)
    for group, members in groups.items():
        if members:
            x, y = [x_of[c.genotype] for c in members], [fitness_of(c) for c in members]
            axes.scatter(x, y, label=group, zorder=2, **_STYLES[group])


def _finish(axes: Axes) -> None:
    axes.grid(alpha=0.3)
    if len(axes.get_legend_handles_labels()[0]) > 1:
        axes.legend(fontsize=8)
