"""The report of a search: verdict, tables and figures."""

from pathlib import Path

from crnas_d2.common.formats import format_quantity
from crnas_d2.runs.search_result import SearchResult
from crnas_d2.search import Candidate
from crnas_d2.space import Genotype

from .page import Page, add_per_class, format_range, without_constant_columns
from .search_figures import draw_by_choice, draw_distribution, draw_levels, draw_tradeoff
from .search_verdict import search_verdict
from .sketch import draw_architectures

_SHOWN = 10


def write_search(result: SearchResult, path: str | Path) -> None:
    """Write the page of a search."""
    page = Page(f"Search of the {result.space.kind} space")
    add_search(page, result)
    page.write(path)


def add_search(page: Page, result: SearchResult) -> None:
    """Add the verdict, tables and figures of a search to a page."""
    metric, complete = result.metric, result.complete
    page.verdict(search_verdict(result))
    facts = result.origin.facts() if result.origin is not None else {}
    if result.races:
        text = f"{result.num_stopped} of {len(result.candidates)} candidates stopped early"
        if (images := result.num_images()) is not None:
            seen, whole = images
            text += f", {seen:,} instead of {whole:,} images ({seen / whole:.0%})"
        facts["racing"] = text
    page.facts(facts)
    if result.finalists:
        page.heading("Final round")
        minutes = sum(finalist.seconds for finalist in result.finalists) / 60
        page.text(
            f"The best candidates of the search, each trained by itself ({minutes:.1f} minutes in "
            "all) and scored on archval. The first is the one of genotype.yaml."
        )
        head = f"{result.trained_metric or metric} after training", f"{metric} in the search"
        rows = [[f.candidate.genotype, f.fitness, f.candidate.fitness] for f in result.finalists]
        page.table(["genotype", *head], rows, best=0)
    page.heading(f"Search of the {result.space.kind} space: the best {min(_SHOWN, len(complete))}")
    failed, stopped = len(result.candidates) - len(result.succeeded), result.num_stopped
    page.text(
        f"{len(result.candidates)} candidates evaluated"
        + (f", {failed} of them failed" if failed else "")
        + (f", {stopped} of them stopped early" if stopped else "")
        + f". Fitness: {metric} {result.scored}; a retrained network scores differently."
    )
    _add_best(page, result)
    drawn = {f"#{rank + 1}": candidate.genotype for rank, candidate in enumerate(complete[:5])}
    if result.baseline is not None and result.baseline.genotype not in drawn.values():
        drawn["baseline"] = result.baseline.genotype
    page.figure(draw_architectures(drawn), "the blocks per stage of the five best candidates")
    if len(complete) < len(result.succeeded):
        page.heading("Search: choice after choice")
        page.text(
            "Each dot is a prefix of a genotype, scored with all later choices sampled for each "
            "batch of archval; the line joins the prefixes of the best genotype. Only dots of the "
            "same column are comparable, because they share the samples."
        )
        page.figure(draw_levels(result), f"{metric} of each level of the search")
        return
    for cost in result.compared_costs():
        front = result.pareto_front(cost)
        page.heading(f"Search: the Pareto front of {metric} and {cost.unit}")
        page.text(f"Candidates that no other dominates in both ({result.scope}).")
        points = [[_name(c), c.fitness, format_quantity(cost(c.genotype))] for c in front]
        page.table(["genotype", metric, cost.unit], points)
        page.figure(draw_tradeoff(result, cost), f"{metric} against {cost.unit}")
    if len(complete) > 1:
        page.heading("Search: all candidates")
        page.figure(draw_distribution(result), f"sorted {metric} of all candidates")
        page.text("Below, each dot is a candidate; the line joins the mean of each option.")
        page.figure(draw_by_choice(result), f"{metric} against the options of each choice")
    shown = {"best": complete[0].metrics}
    for candidate in complete[1:]:
        # A baseline that was stopped early has no metrics.
        if _is_baseline(result, candidate.genotype) and candidate.metrics:
            shown["baseline"] = candidate.metrics
    add_per_class(page, shown, metric.partition("/")[0])


def _add_best(page: Page, result: SearchResult) -> None:
    """Add the table of the best candidates, and of the baseline wherever it is."""
    ranked = list(enumerate(result.complete, start=1))
    shown = [(n, c) for n, c in ranked if n <= _SHOWN or _is_baseline(result, c.genotype)]
    costs, noise = result.costs.values(), result.noise
    rows: list[list[object]] = []
    marked = None
    for rank, candidate in shown:
        genotype, name = candidate.genotype, _name(candidate)
        if _is_baseline(result, genotype):
            marked, name = len(rows), f"{name} (baseline)"
        interval = behind = ""
        if noise is not None and genotype in noise.intervals:
            interval = format_range(noise.intervals[genotype])
        if noise is not None and genotype in noise.behind:
            low, high = noise.behind[genotype]
            behind = format_range((-high, -low))
        amounts = [format_quantity(cost(genotype)) for cost in costs]
        rows.append([name, rank, candidate.fitness, interval, behind, *amounts])
    head = ["genotype", "rank", result.metric, "95 % interval", "behind the best by"]
    head += [cost.unit for cost in costs]
    head, rows, same = without_constant_columns(head, rows, ("rank", result.metric))
    page.table(head, rows, best=0, baseline=marked)
    if costs:
        page.text(f"Costs are those of the {result.scope}. {same}".strip())


def _is_baseline(result: SearchResult, genotype: Genotype) -> bool:
    return result.baseline is not None and result.baseline.genotype == genotype


def _name(candidate: Candidate) -> str:
    """Return a genotype, and whether its fitness is an estimate."""
    if candidate.images is None:
        return str(candidate.genotype)
    return f"{candidate.genotype} (stopped after {candidate.images:,} images)"
