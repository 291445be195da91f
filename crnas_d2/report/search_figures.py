"""The pictures of a search: all candidates by rank, by cost, by choice, and by level."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from crnas_d2.evaluation import FitnessNoise
from crnas_d2.search import Candidate
from crnas_d2.space import AdditiveCost, Genotype, SearchSpace

_BEST, _BASELINE, _TIED, _OTHER, _LINE = "#d94801", "#238b45", "#3182bd", "#9aa5b1", "#08519c"
_STOPPED = "stopped early (estimate)"


def draw_distribution(
    scored: Sequence[Candidate],
    metric: str,
    noise: FitnessNoise | None = None,
    baseline: Genotype | None = None,
) -> Figure:
    """Draw the fitness of the candidates by rank, with their intervals where they are known."""
    figure = Figure(figsize=(9, 3.5))
    axes = figure.add_subplot()
    ranks = {candidate.genotype: rank for rank, candidate in enumerate(scored, start=1)}
    intervals = noise.intervals if noise is not None else {}
    for candidate in scored:
        if candidate.genotype in intervals:
            rank = ranks[candidate.genotype]
            axes.plot([rank, rank], intervals[candidate.genotype], color="#d0d7de", zorder=1)
    _scatter(axes, scored, lambda c: ranks[c.genotype], noise, baseline)
    if intervals:
        axes.plot([], [], color="#d0d7de", label="95 % interval")
    axes.set(xlabel="rank", ylabel=metric)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    _legend(axes)
    return figure


def draw_tradeoff(
    scored: Sequence[Candidate],
    front: Sequence[Candidate],
    cost: AdditiveCost,
    metric: str,
    noise: FitnessNoise | None = None,
    baseline: Genotype | None = None,
) -> Figure:
    """Draw fitness against cost, with the Pareto front as a line."""
    figure = Figure(figsize=(9, 4))
    axes = figure.add_subplot()
    costs = [cost(candidate.genotype) for candidate in front]
    fitness = [candidate.fitness for candidate in front]
    axes.step(costs, fitness, where="post", color=_LINE, label="Pareto front", zorder=1)
    _scatter(axes, scored, lambda c: cost(c.genotype), noise, baseline)
    axes.set(xlabel=cost.unit, ylabel=metric)
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.grid(alpha=0.3)
    _legend(axes)
    return figure


def draw_levels(
    scored: Sequence[Candidate], best: Genotype, space: SearchSpace, metric: str
) -> Figure:
    """Draw a column per length of the prefix, labelled with what the best genotype chose there."""
    figure = Figure(figsize=(9, 3.5))
    axes = figure.add_subplot()
    decided = [space.values(candidate.genotype, partial=True) for candidate in scored]
    fitness = [candidate.fitness for candidate in scored]
    lengths = [len(values) for values in decided]
    axes.plot(lengths, fitness, ".", color=_OTHER, label="prefix")
    chosen = space.values(best)
    path = sorted(
        (len(values), candidate.fitness)
        for values, candidate in zip(decided, scored, strict=True)
        if values.items() <= chosen.items()
    )
    axes.plot(*zip(*path, strict=True), ".-", color=_BEST, label="of the best genotype")
    axes.set_xticks([level for level, _ in path])
    names = [f"{name} {option}" for name, option in chosen.items()]
    axes.set_xticklabels([names[level - 1] for level, _ in path], rotation=90, fontsize=7)
    axes.set_ylabel(metric)
    axes.grid(alpha=0.3)
    _legend(axes)
    return figure


def draw_by_choice(
    scored: Sequence[Candidate],
    space: SearchSpace,
    metric: str,
    noise: FitnessNoise | None = None,
    baseline: Genotype | None = None,
) -> Figure:
    """Draw fitness against the option that each choice took, with the mean of each option."""
    varied = [choice for choice in space.choices if len(choice.options) > 1]
    columns = min(len(varied), 4)
    rows = -(-len(varied) // columns)
    figure = Figure(figsize=(9, 2.6 * rows + 0.5), layout="constrained")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axes in panels.flat[len(varied) :]:
        axes.set_visible(False)
    for axes, choice in zip(panels.flat, varied, strict=False):
        # None where the choice is not active, e.g. the operation of a block that is not there.
        taken = {c.genotype: space.values(c.genotype).get(choice.name) for c in scored}
        active = [candidate for candidate in scored if taken[candidate.genotype] is not None]
        options = np.array([taken[candidate.genotype] for candidate in active])
        fitness = np.array([candidate.fitness for candidate in active])
        present = np.unique(options)
        means = [fitness[options == option].mean() for option in present]
        axes.plot(present, means, color=_LINE, label="mean of the option", zorder=1)
        _scatter(axes, active, lambda c, taken=taken: taken[c.genotype], noise, baseline)
        axes.set_xlabel(choice.name)
        # Options are whole numbers: a tick for each, or only some of many.
        if len(present) <= 10:
            axes.set_xticks(present)
        else:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    for axes in panels[:, 0]:
        axes.set_ylabel(metric)
    handles = dict(
        (label, handle)
        for axes in panels.flat[: len(varied)]
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    )
    figure.legend(
        handles.values(), handles, loc="outside lower center", ncols=len(handles), fontsize=8
    )
    return figure


def _scatter(axes: Axes, candidates: Sequence[Candidate], x, noise, baseline) -> None:
    """Draw a dot per candidate: the best of all, those it cannot be told from, the baseline."""
    groups: dict[str, list[Candidate]] = {}
    for candidate in reversed(candidates):
        genotype = candidate.genotype
        if genotype == baseline:
            group = "baseline"
        elif noise is not None and genotype == noise.best:
            group = "best"
        elif noise is not None and noise.is_tied(genotype):
            group = "cannot be told apart from the best"
        elif candidate.images is not None:
            group = _STOPPED
        else:
            group = "candidate"
        groups.setdefault(group, []).append(candidate)
    styles = {
        _STOPPED: {"color": _OTHER, "s": 14, "marker": "x", "linewidths": 0.8},
        "candidate": {"color": _OTHER, "s": 14},
        "cannot be told apart from the best": {"color": _TIED, "s": 18},
        "best": {"color": _BEST, "s": 60, "marker": "D"},
        "baseline": {"color": _BASELINE, "s": 70, "marker": "s"},
    }
    for group, style in styles.items():
        members = groups.get(group, [])
        if members:
            points = [[x(c) for c in members], [c.fitness for c in members]]
            axes.scatter(*points, label=group, zorder=2, **style)


def _legend(axes: Axes) -> None:
    if len(axes.get_legend_handles_labels()[0]) > 1:
        axes.legend(fontsize=8)
