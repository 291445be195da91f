"""Results of a search: candidates.csv and report.html."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from crnas_d2.common.formats import format_quantity
from crnas_d2.config import NetworkSpec
from crnas_d2.engine.scores import SCORE_REGISTRY
from crnas_d2.evaluation import FitnessNoise
from crnas_d2.search import Candidate, Finalist
from crnas_d2.space import AdditiveCost, Genotype, SearchSpace

from .candidates_csv import write_candidates
from .page import Page, without_constant_columns
from .pareto import compared_costs, pareto_front
from .per_class import add_per_class
from .provenance import baseline_genotype, cost_scope, images_looked_at, provenance
from .search_figures import draw_by_choice, draw_distribution, draw_levels, draw_tradeoff
from .search_verdict import search_verdict
from .sketch import draw_architectures

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
        f"{SCORE_REGISTRY.get(cfg.SEARCH.SCORE).metric(cfg)} {best.fitness} {_where(cfg)}" + chosen,
    )
    settings = search_settings(cfg, candidates)
    write_candidates(output / "candidates.csv", candidates, space, costs, settings["noise"])
    page = Page(f"Search of the {space.kind} space")
    add_search(page, candidates, space, costs, finalists=finalists, **settings)
    page.write(output / "report.html")
    return best


def _where(cfg) -> str:
    """Say how candidates were scored."""
    if SCORE_REGISTRY.get(cfg.SEARCH.SCORE).uses_supernet:
        return f"on {cfg.DATASETS.ARCHVAL[0]}, with supernet weights"
    return "by formula, without weights and images"


def _seen(cfg) -> dict[str, str]:
    return {"archval": ", ".join(cfg.DATASETS.ARCHVAL), "weights": cfg.MODEL.WEIGHTS}


def search_settings(cfg, candidates: Sequence[Candidate]) -> dict[str, object]:
    """Return the keyword arguments of :func:`add_search` that come from a config and its folder.

    Args:
        candidates: the best first.
    """
    spec = NetworkSpec.from_config(cfg)
    complete = {
        candidate.genotype: candidate.fitness
        for candidate in candidates
        if candidate.fitness is not None and spec.space.is_complete(candidate.genotype)
    }
    seconds = sum(candidate.seconds for candidate in candidates)
    noise = FitnessNoise.read(cfg.OUTPUT_DIR, complete)
    return {
        "metric": SCORE_REGISTRY.get(cfg.SEARCH.SCORE).metric(cfg),
        "trained_metric": cfg.SEARCH.METRIC,
        "scored": _where(cfg),
        "on_images": SCORE_REGISTRY.get(cfg.SEARCH.SCORE).uses_supernet,
        "scope": cost_scope(cfg, spec),
        "second_objective": cfg.SEARCH.SECOND_OBJECTIVE,
        "noise": noise,
        "baseline": baseline_genotype(cfg, spec),
        "facts": {
            **provenance(cfg, [cfg.OUTPUT_DIR], seconds, "evaluations, summed over workers"),
            "algorithm": cfg.SEARCH.ALGORITHM,
            **(_seen(cfg) if SCORE_REGISTRY.get(cfg.SEARCH.SCORE).uses_supernet else {}),
            **(images_looked_at(candidates, noise) if cfg.SEARCH.RACING.ENABLED else {}),
        },
    }


def add_search(
    page: Page,
    candidates: Sequence[Candidate],
    space: SearchSpace,
    costs: Mapping[str, AdditiveCost],
    *,
    metric: str,
    scope: str,
    scored: str = "on archval, with the weights of the supernet",
    on_images: bool = True,
    trained_metric: str = "",
    second_objective: str = "",
    noise: FitnessNoise | None = None,
    baseline: tuple[Genotype, str] | None = None,
    facts: Mapping[str, str] | None = None,
    finalists: Sequence[Finalist] = (),
) -> None:
    """Add the verdict, tables and figures of a search to a page.

    Args:
        candidates: the best first; at least one complete genotype with a fitness.
        costs: those that have a column, keyed by name.
        metric: the name of the fitness.
        scope: what the costs count, e.g. ``backbone body, 192x192 pixels``.
        scored: on what candidates were scored, and how.
        on_images: whether images were looked at.
        trained_metric: the name of the fitness of finalists; default: ``metric``.
        second_objective: the cost of the Pareto front; default: each cost in which the candidates
            differ has one.
        noise: of the fitness, where it is known.
        baseline: the network to compare with, and what it is.
        facts: names and values for the head.
        finalists: the best first.
    """
    succeeded = [candidate for candidate in candidates if candidate.fitness is not None]
    complete = [c for c in succeeded if space.is_complete(c.genotype)]
    known = {"metric": metric, "scope": scope, "noise": noise, "baseline": baseline}
    page.verdict(
        search_verdict(
            complete,
            costs,
            scored=scored,
            finalists=finalists,
            trained_metric=trained_metric or metric,
            on_images=on_images,
            **known,
        )
    )
    page.facts(facts or {})
    if finalists:
        _add_finalists(page, finalists, metric, trained_metric or metric)
    base = baseline[0] if baseline else None
    page.heading(f"Search of the {space.kind} space: the best {min(_SHOWN, len(complete))}")
    failed = len(candidates) - len(succeeded)
    stopped = sum(candidate.images is not None for candidate in candidates)
    page.text(
        f"{len(candidates)} candidates evaluated"
        + (f", {failed} of them failed" if failed else "")
        + (f", {stopped} of them stopped early" if stopped else "")
        + f". Fitness: {metric} {scored}; a retrained network scores differently."
    )
    _add_best(page, complete, costs, metric, scope, noise, base)
    drawn = {f"#{rank + 1}": candidate.genotype for rank, candidate in enumerate(complete[:5])}
    if base is not None and base not in drawn.values():
        drawn["baseline"] = base
    page.figure(draw_architectures(drawn), "the blocks per stage of the five best candidates")
    if len(complete) < len(succeeded):
        page.heading("Search: choice after choice")
        page.text(
            "Each dot is a prefix of a genotype, scored with all later choices sampled for each "
            "batch of archval; the line joins the prefixes of the best genotype. Only dots of the "
            "same column are comparable, because they share the samples."
        )
        best = complete[0].genotype
        page.figure(
            draw_levels(succeeded, best, space, metric), f"{metric} of each level of the search"
        )
        return
    for compared in compared_costs(costs, complete, second_objective):
        front = pareto_front(complete, compared)
        page.heading(f"Search: the Pareto front of {metric} and {compared.unit}")
        page.text(f"Candidates that no other dominates in both ({scope}).")
        rows = [[_name(c), c.fitness, format_quantity(compared(c.genotype))] for c in front]
        page.table(["genotype", metric, compared.unit], rows)
        figure = draw_tradeoff(complete, front, compared, metric, noise, base)
        page.figure(figure, f"{metric} against {compared.unit}")
    if len(succeeded) > 1:
        _add_all(page, succeeded, space, metric, noise, base)
    _add_classes(page, complete, metric, base)


def _add_all(
    page: Page,
    scored: Sequence[Candidate],
    space: SearchSpace,
    metric: str,
    noise: FitnessNoise | None,
    base: Genotype | None,
) -> None:
    page.heading("Search: all candidates")
    page.figure(
        draw_distribution(scored, metric, noise, base), f"sorted {metric} of all candidates"
    )
    page.text("Below, each dot is a candidate; the line joins the mean of each option.")
    page.figure(
        draw_by_choice(scored, space, metric, noise, base),
        f"{metric} against the options of each choice",
    )


def _add_classes(
    page: Page, complete: Sequence[Candidate], metric: str, baseline: Genotype | None
) -> None:
    named = [("best", complete[0]), *(("baseline", c) for c in complete[1:])]
    shown = {
        name: c.metrics
        for name, c in named
        # A baseline that was stopped early has no metrics.
        if name == "best" or (c.genotype == baseline and c.metrics)
    }
    add_per_class(page, shown, metric.partition("/")[0])


def _add_best(
    page: Page,
    complete: Sequence[Candidate],
    costs: Mapping[str, AdditiveCost],
    metric: str,
    scope: str,
    noise: FitnessNoise | None,
    baseline: Genotype | None,
) -> None:
    """Add the table of the best candidates, and of the baseline wherever it is."""
    shown = dict(enumerate(complete[:_SHOWN], start=1))
    shown |= {n: c for n, c in enumerate(complete, start=1) if c.genotype == baseline}
    head = ["genotype", "rank", metric, "95 % interval", "behind the best by"]
    head += [cost.unit for cost in costs.values()]
    intervals, behind = (noise.intervals, noise.behind) if noise else ({}, {})
    rows = [
        [
            f"{_name(candidate)}{' (baseline)' if candidate.genotype == baseline else ''}",
            rank,
            candidate.fitness,
            _range(intervals.get(candidate.genotype)),
            _range(behind.get(candidate.genotype), -1),
            *(format_quantity(cost(candidate.genotype)) for cost in costs.values()),
        ]
        for rank, candidate in shown.items()
    ]
    head, rows, same = without_constant_columns(head, rows, ("rank", metric))
    marked = [c.genotype for c in shown.values()].index(baseline) if _has(shown, baseline) else None
    page.table(head, rows, best=0, baseline=marked)
    if costs:
        page.text(f"Costs are those of the {scope}. {same}".strip())


def _name(candidate: Candidate) -> str:
    """Return a genotype, and whether its fitness is an estimate."""
    if candidate.images is None:
        return str(candidate.genotype)
    return f"{candidate.genotype} (stopped after {candidate.images:,} images)"


def _has(shown: Mapping[int, Candidate], genotype: Genotype | None) -> bool:
    return any(candidate.genotype == genotype for candidate in shown.values())


def _range(interval: tuple[float, float] | None, sign: int = 1) -> str:
    if interval is None:
        return ""
    low, high = sorted(sign * bound for bound in interval)
    return f"{low:.2f} to {high:.2f}"


def _add_finalists(
    page: Page, finalists: Sequence[Finalist], metric: str, trained_metric: str
) -> None:
    page.heading("Final round")
    minutes = sum(finalist.seconds for finalist in finalists) / 60
    page.text(
        f"The best candidates of the search, each trained by itself ({minutes:.1f} minutes in "
        f"all) and scored on archval. The first is the one of genotype.yaml."
    )
    rows = [[str(f.candidate.genotype), f.fitness, f.candidate.fitness] for f in finalists]
    page.table(
        ["genotype", f"{trained_metric} after training", f"{metric} in the search"], rows, best=0
    )
