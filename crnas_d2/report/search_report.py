"""The report of a search: verdict, tables and figures."""

import math
import os
from contextlib import suppress
from pathlib import Path

from crnas_d2.common.formats import format_few, format_quantity
from crnas_d2.evaluation import images_to_tell
from crnas_d2.runs.search_result import SearchResult, fitness_of
from crnas_d2.search import Candidate
from crnas_d2.space import Genotype

from .page import Page, add_per_class, format_range, says_exceeds, without_constant_columns
from .search_figures import draw_by_choice, draw_distribution, draw_levels, draw_tradeoff
from .sketch import draw_architectures

_SHOWN = 10  # candidates in the table of the best
_FEWEST = 10  # images for which the noise is worth a sentence
_RULE = ", the network without its last blocks, which needs no search,"
_TOLD = (1.0, 0.5)  # differences of scores for which a number of images is given


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
    ranked: list[tuple[int | str, Candidate]] = list(enumerate(result.complete, start=1))
    shown = [(n, c) for n, c in ranked if int(n) <= _SHOWN or _is_baseline(result, c.genotype)]
    if result.baseline is not None and result.baseline.measured is not None:
        shown.append(("no candidate", result.baseline.measured))
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


def search_verdict(result: SearchResult) -> list[str]:
    """Return sentences: what was found, its cost, the baseline, and the noise."""
    best, metric, number = result.best, result.metric, len(result.complete)
    fitness = fitness_of(best)
    if result.finalists:
        found = (
            f"Found: {best.genotype}: {result.trained_metric or metric} "
            f"{result.finalists[0].fitness:.2f} on archval after its own training, the best of "
            f"{len(result.finalists)} finalists; {metric} {fitness:.2f} in the search of "
            f"{number} candidates, {result.scored}."
        )
    else:
        found = f"Found: {best.genotype}, the best of {number} candidates: {metric} {fitness:.2f}"
        if result.noise is not None and best.genotype in result.noise.intervals:
            found += f" (95 % interval {format_range(result.noise.intervals[best.genotype])})"
        found += f" {result.scored}."
    lines = [found]
    if result.costs:
        amounts = [f"{format_quantity(c(best.genotype))} {c.unit}" for c in result.costs.values()]
        compared = ""
        if result.baseline is not None and (other := result.baseline.genotype) != best.genotype:
            with suppress(ValueError):  # it lies outside the space
                both = [(c(best.genotype), c(other), c.unit) for c in result.costs.values()]
                shares = [f"{100 * own / base:.0f} % of the {of}" for own, base, of in both if base]
                compared = f"; {', '.join(shares)} of the baseline" if shares else ""
        lines.append(f"Cost: {', '.join(amounts)} ({result.scope}){compared}.")
    if result.baseline is not None:
        genotype, what = result.baseline.genotype, result.baseline.what
        lines.append(_against(result, genotype, "the baseline", f", {what},"))
    if result.rule is not None:
        lines.append(_against(result, result.rule, "the rule of thumb", _RULE))
    if not result.on_images:
        return [*lines, "No image was looked at: train the network before trusting its score."]
    if fitness < 0.5:  # percent: all differences are noise
        lines.append(
            "That is next to nothing, so the candidates differ by noise alone: train longer, or "
            "from better weights."
        )
    return [*lines, *describe_noise(result)]


def _against(result: SearchResult, genotype: Genotype, name: str, what: str) -> str:
    """Compare the best network with another, which has a name and an explanation in commas."""
    best, metric, noise = result.best, result.metric, result.noise
    if genotype == best.genotype:
        return f"It is {name}{what[:-1]}."
    other = next((c for c in result.complete if c.genotype == genotype), None)
    own = result.baseline
    if other is None and own and own.genotype == genotype and own.measured is not None:
        return _against_detector(result, own.measured, what, own.behind)
    if other is None:
        return (
            f"{name.capitalize()} {genotype}{what} is not among the candidates, e.g. because of "
            "SEARCH.BUDGET: train both networks and compare them."
        )
    less = fitness_of(best) - fitness_of(other)
    difference = f"{abs(less):.2f} {'less' if less >= 0 else 'more'}"
    if other.images is not None:
        return (
            f"{name.capitalize()} {genotype}{what} was stopped after {other.images:,} images, "
            f"because it could not win any more: its {metric} is about {other.fitness:.2f}, "
            f"{difference}."
        )
    text = f"{name.capitalize()} {genotype}{what} has {metric} {other.fitness:.2f}: {difference}"
    if not result.on_images:
        return f"{text}."
    if noise is None or best.genotype != noise.best or genotype not in noise.behind:
        return f"{text}. Whether that exceeds the noise of archval is not known."
    interval = -noise.behind[genotype][1], -noise.behind[genotype][0]
    return (
        f"{text} (95 % interval of the difference {format_range(interval)}), which "
        f"{says_exceeds(interval)} the noise of archval."
    )


def _against_detector(
    result: SearchResult,
    detector: Candidate,
    what: str,
    behind: tuple[float, float] | None,
) -> str:
    """Say what was lost before any training, where the detector is no candidate."""
    best, metric = result.best, result.metric
    less = fitness_of(best) - fitness_of(detector)
    text = (
        f"The baseline {detector.genotype}{what} has {metric} {detector.fitness:.2f}, scored in "
        f"the same way: without further training, the found network has {abs(less):.2f} "
        f"{'more' if less >= 0 else 'less'}"
    )
    if behind is None or best.genotype != result.complete[0].genotype:
        return f"{text}."
    interval = -behind[1], -behind[0]
    return f"{text} (95 % interval of the difference {format_range(interval)})."


def describe_noise(result: SearchResult) -> list[str]:
    """Return sentences: which candidates cannot be told apart, and what archval would do it."""
    metric, noise, stopped = result.metric, result.noise, result.num_stopped
    if noise is None:
        return [
            f"How far {metric} depends on the images of archval is not known here: intervals are "
            "computed during a search, for AP of COCO-format data and for accuracy."
        ]
    known, whole = len(noise.behind), [c for c in result.complete if c.images is None]
    lost = sum(candidate.genotype not in noise.intervals for candidate in whole)
    scored = " scored on all images" if stopped else ""
    if not known and not stopped and not lost:
        return []
    tied, lines, images = noise.tied, [], f"the {noise.num_images:,} images of archval"
    if known:
        lines.append(
            f"{len(tied)} of the {known} other candidates{scored} cannot be told apart from the "
            f"best one on {images}: the 95 % interval of the difference includes 0 "
            f"({format_few(tied, 5)})."
            if tied
            else f"The best one exceeds all {known} others{scored} by more than the noise of "
            f"{images}."
        )
    if lost:
        own = result.origin.folders if result.origin is not None else ()
        others = [f for f in result.elsewhere if f not in map(os.path.abspath, own)]
        fix = f": copy the folder noise of {', '.join(others)} into that of this search"
        fix = fix if others else ""
        among = "" if noise.best in noise.intervals else ", the best one among them"
        lines.append(f"{lost} were scored elsewhere and have no interval{among}{fix}.")
    if stopped:
        lines.append(
            f"{stopped} candidate{'s were' if stopped > 1 else ' was'} stopped early by racing, "
            f"too far behind to be among the best: {metric} is an estimate there."
        )
    if math.isfinite(noise.spread) and noise.spread > 0:
        some, more = (images_to_tell(each, noise.spread, noise.num_images) for each in _TOLD)
        if min(some, more) >= _FEWEST:
            lines.append(
                f"By the noise measured here, {some:,} images would tell candidates apart that "
                f"differ by {_TOLD[0]:g} in {metric}, and {more:,} those that differ by "
                f"{_TOLD[1]:g}."
            )
    return [
        *lines,
        "Training adds noise of its own: retrain with several seeds before trusting a small "
        "difference.",
    ]
