"""Results of a search: candidates.csv and report.html."""

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from crnas_d2.search import Candidate, Finalist
from crnas_d2.space import AdditiveCost, Genotype, SearchSpace, format_quantity

from .page import Page
from .sketch import draw_architectures

__all__ = [
    "add_search",
    "pareto_front",
    "search_settings",
    "write_candidates",
    "write_search",
]

_SHOWN = 10


def write_search(
    cfg,
    candidates: Sequence[Candidate],
    space: SearchSpace,
    costs: Mapping[str, AdditiveCost],
    finalists: Sequence[Finalist] = (),
) -> Candidate:
    """Write ``genotype.yaml``, ``candidates.csv`` and ``report.html`` into ``OUTPUT_DIR``.

    Args:
        candidates: the best first; at least one complete genotype with a fitness.
        costs: those that have a column, keyed by name.
        finalists: the best first; the first one is the best network, if there are any.

    Returns:
        the best candidate.
    """
    output = Path(cfg.OUTPUT_DIR)
    best = next(c for c in candidates if space.is_complete(c.genotype))
    chosen = ""
    if finalists:
        best = finalists[0].candidate
        chosen = (
            f"\n{cfg.SEARCH.METRIC} {finalists[0].fitness} after its own training, the best of "
            f"{len(finalists)} finalists"
        )
    best.genotype.to_yaml(
        output / "genotype.yaml",
        family=cfg.MODEL.SUPERNET.FAMILY,
        comment=f"{best.genotype}, the best of {len(candidates)} candidates\n"
        f"{cfg.SEARCH.METRIC} {best.fitness} on {cfg.DATASETS.ARCHVAL[0]}, with supernet weights"
        + chosen,
    )
    write_candidates(output / "candidates.csv", candidates, space, costs)
    page = Page(f"Search of the {space.kind} space")
    if finalists:
        _add_finalists(page, finalists, cfg.SEARCH.METRIC)
    add_search(page, candidates, space, costs, **search_settings(cfg))
    page.write(output / "report.html")
    return best


def search_settings(cfg) -> dict[str, str]:
    """Return the keyword arguments of :func:`add_search` that come from a config."""
    height, width = cfg.SEARCH.COST_INPUT_SIZE
    return {
        "metric": cfg.SEARCH.METRIC,
        "cost_scope": f"backbone body, {height}x{width}",
        "second_objective": cfg.SEARCH.SECOND_OBJECTIVE,
    }


def write_candidates(
    path: str | Path,
    candidates: Sequence[Candidate],
    space: SearchSpace,
    costs: Mapping[str, AdditiveCost],
) -> None:
    """Write one line per evaluated genotype, the best first, numbers in full precision.

    Columns of costs have their names in lower case. For a prefix, the choices that are still open
    and the costs are empty.
    """
    metrics = list(dict.fromkeys(name for c in candidates for name in c.metrics))
    with Path(path).open("w", newline="") as stream:
        writer = csv.writer(stream)
        names = [name.lower() for name in costs]
        writer.writerow([*space.names, "fitness", *metrics, *names, "seconds"])
        for candidate in candidates:
            values = space.values(candidate.genotype, partial=True)
            is_complete = space.is_complete(candidate.genotype)
            writer.writerow(
                [
                    *(values.get(name, "") for name in space.names),
                    "failed" if candidate.fitness is None else candidate.fitness,
                    *(candidate.metrics.get(name, "") for name in metrics),
                    *(cost(candidate.genotype) if is_complete else "" for cost in costs.values()),
                    f"{candidate.seconds:.2f}",
                ]
            )


def add_search(
    page: Page,
    candidates: Sequence[Candidate],
    space: SearchSpace,
    costs: Mapping[str, AdditiveCost],
    *,
    metric: str,
    cost_scope: str,
    second_objective: str = "",
) -> None:
    """Add tables and figures of a search to a page.

    Args:
        candidates: the best first; at least one complete genotype with a fitness.
        costs: those that have a column, keyed by name.
        metric: the name of the fitness.
        cost_scope: what the costs count, e.g. ``backbone body, 192x192``.
        second_objective: the cost of the Pareto front; default: each cost in which the candidates
            differ has one.
    """
    scored = [candidate for candidate in candidates if candidate.fitness is not None]
    complete = [c for c in scored if space.is_complete(c.genotype)]
    failed = len(candidates) - len(scored)
    page.heading(f"Search of the {space.kind} space: the best {min(_SHOWN, len(complete))}")
    page.text(
        f"{len(candidates)} candidates evaluated"
        + (f", {failed} of them failed" if failed else "")
        + f". Fitness: {metric} on archval, with the weights of the supernet; a retrained network "
        "scores differently."
    )
    rows = [
        [
            str(candidate.genotype),
            candidate.fitness,
            *(format_quantity(cost(candidate.genotype)) for cost in costs.values()),
        ]
        for candidate in complete[:_SHOWN]
    ]
    page.table(["genotype", metric, *(cost.unit for cost in costs.values())], rows, best=0)
    if costs:
        page.text(f"Costs are those of the {cost_scope}.")
    page.figure(
        draw_architectures(
            {f"#{rank + 1}": candidate.genotype for rank, candidate in enumerate(complete[:5])}
        ),
        "the blocks per stage of the five best candidates",
    )
    if len(complete) < len(scored):
        page.heading("Search: choice after choice")
        page.text(
            "Each dot is a prefix of a genotype, scored with all later choices sampled for each "
            "batch of archval; the line joins the prefixes of the best genotype. Only dots of the "
            "same column are comparable, because they share the samples."
        )
        best = complete[0].genotype
        page.figure(_levels(scored, best, space, metric), f"{metric} of each level of the search")
        return
    for compared in _compared(costs, complete, second_objective):
        front = pareto_front(complete, compared)
        page.heading(f"Search: the Pareto front of {metric} and {compared.unit}")
        page.text(f"Candidates that no other dominates in both ({cost_scope}).")
        rows = [[str(c.genotype), c.fitness, format_quantity(compared(c.genotype))] for c in front]
        page.table(["genotype", metric, compared.unit], rows)
        page.figure(
            _tradeoff(complete, front, compared, metric), f"{metric} against {compared.unit}"
        )
    page.heading("Search: all candidates")
    page.figure(_distribution(scored, metric), f"sorted {metric} of all candidates")
    page.text("Below, each dot is a candidate; the line joins the mean of each option.")
    page.figure(_by_choice(scored, space, metric), f"{metric} against the options of each choice")


def _add_finalists(page: Page, finalists: Sequence[Finalist], metric: str) -> None:
    page.heading("Final round")
    minutes = sum(finalist.seconds for finalist in finalists) / 60
    page.text(
        f"The best candidates of the search, each trained by itself ({minutes:.1f} minutes in "
        f"all) and scored on archval. The first is the one of genotype.yaml."
    )
    rows = [[str(f.candidate.genotype), f.fitness, f.candidate.fitness] for f in finalists]
    page.table(["genotype", f"{metric} after training", f"{metric} in the supernet"], rows, best=0)


def _compared(
    costs: Mapping[str, AdditiveCost], candidates: Sequence[Candidate], second_objective: str
) -> list[AdditiveCost]:
    """Return the second objective or, without one, every cost in which the candidates differ."""
    if second_objective in costs:
        return [costs[second_objective]]
    return [
        cost
        for cost in costs.values()
        if len({cost(candidate.genotype) for candidate in candidates}) > 1
    ]


def pareto_front(
    candidates: Sequence[Candidate], cost: Callable[[Genotype], float]
) -> list[Candidate]:
    """Return the candidates that no other one dominates in fitness and cost.

    Args:
        candidates: the best first, all with a fitness.

    Returns:
        the cheapest first; one of each group with equal fitness and cost.
    """
    front: list[Candidate] = []
    # From cheap to expensive, the best first at equal cost: a candidate is on the front if it has
    # a higher fitness than all before it.
    for candidate in sorted(candidates, key=lambda c: (cost(c.genotype), -c.fitness)):
        if not front or candidate.fitness > front[-1].fitness:
            front.append(candidate)
    return front


def _tradeoff(
    scored: Sequence[Candidate],
    front: Sequence[Candidate],
    cost: AdditiveCost,
    metric: str,
) -> Figure:
    figure = Figure(figsize=(9, 3.5))
    axes = figure.add_subplot()
    for candidates, style in ((scored, "."), (front, ".-")):
        costs = [cost(candidate.genotype) for candidate in candidates]
        colour = "#9ecae1" if style == "." else "#08519c"
        axes.plot(costs, [candidate.fitness for candidate in candidates], style, color=colour)
    axes.set(xlabel=cost.unit, ylabel=metric)
    axes.grid(alpha=0.3)
    return figure


def _distribution(scored: Sequence[Candidate], metric: str) -> Figure:
    figure = Figure(figsize=(9, 3))
    axes = figure.add_subplot()
    axes.plot(range(1, len(scored) + 1), [c.fitness for c in scored], ".-", color="#3182bd")
    axes.set(xlabel="rank", ylabel=metric)
    axes.grid(alpha=0.3)
    return figure


def _levels(scored: Sequence[Candidate], best: Genotype, space: SearchSpace, metric: str) -> Figure:
    # One column per length of the prefix, labelled with what the best genotype chose there.
    figure = Figure(figsize=(9, 3.5))
    axes = figure.add_subplot()
    decided = [space.values(candidate.genotype, partial=True) for candidate in scored]
    axes.plot([len(d) for d in decided], [c.fitness for c in scored], ".", color="#9ecae1")
    chosen = space.values(best)
    path = sorted(
        (len(values), candidate.fitness)
        for values, candidate in zip(decided, scored, strict=True)
        if values.items() <= chosen.items()
    )
    axes.plot(*zip(*path, strict=True), ".-", color="#08519c")
    axes.set_xticks([level for level, _ in path])
    names = [f"{name} {option}" for name, option in chosen.items()]
    axes.set_xticklabels([names[level - 1] for level, _ in path], rotation=90, fontsize=7)
    axes.set_ylabel(metric)
    axes.grid(alpha=0.3)
    return figure


def _by_choice(scored: Sequence[Candidate], space: SearchSpace, metric: str) -> Figure:
    varied = [choice for choice in space.choices if len(choice.options) > 1]
    columns = min(len(varied), 5)
    rows = -(-len(varied) // columns)
    figure = Figure(figsize=(9, 2.6 * rows))
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axes in panels.flat[len(varied) :]:
        axes.set_visible(False)
    fitness = np.array([candidate.fitness for candidate in scored])
    for axes, choice in zip(panels.flat, varied, strict=False):
        # None where the choice is not active, e.g. the operation of a block that is not there.
        taken = [space.values(candidate.genotype).get(choice.name) for candidate in scored]
        is_active = np.array([option is not None for option in taken])
        options = np.array([option for option in taken if option is not None])
        present = np.unique(options)
        axes.plot(options, fitness[is_active], ".", color="#9ecae1")
        means = [fitness[is_active][options == option].mean() for option in present]
        axes.plot(present, means, "#08519c")
        axes.set_xlabel(choice.name)
        axes.grid(alpha=0.3)
    for axes in panels[:, 0]:
        axes.set_ylabel(metric)
    figure.tight_layout()
    return figure
