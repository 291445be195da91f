"""What a search found, in a few sentences."""

import math
from contextlib import suppress

from crnas_d2.common.formats import format_few, format_quantity
from crnas_d2.evaluation import images_to_tell
from crnas_d2.runs.search_result import SearchResult, fitness_of

from .page import format_range, says_exceeds

_FEWEST = 10  # images for which the noise is worth a sentence
_TOLD = (1.0, 0.5)  # differences of scores for which a number of images is given


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
        lines.append(_against_baseline(result))
    if not result.on_images:
        return [*lines, "No image was looked at: train the network before trusting its score."]
    if fitness < 0.5:  # percent: all differences are noise
        lines.append(
            "That is next to nothing, so the candidates differ by noise alone: train longer, or "
            "from better weights."
        )
    return [*lines, *describe_noise(result)]


def _against_baseline(result: SearchResult) -> str:
    best, metric, noise = result.best, result.metric, result.noise
    assert result.baseline is not None
    genotype, what = result.baseline
    if genotype == best.genotype:
        return f"It is the baseline, {what}."
    baseline = next((c for c in result.complete if c.genotype == genotype), None)
    if baseline is None:
        return (
            f"The baseline {genotype}, {what}, is not among the candidates, e.g. because of "
            "SEARCH.BUDGET: train both networks and compare them."
        )
    less = fitness_of(best) - fitness_of(baseline)
    difference = f"{abs(less):.2f} {'less' if less >= 0 else 'more'}"
    if baseline.images is not None:
        return (
            f"The baseline {genotype}, {what}, was stopped after {baseline.images:,} images, "
            f"because it could not win any more: its {metric} is about {baseline.fitness:.2f}, "
            f"{difference}."
        )
    text = f"The baseline {genotype}, {what}, has {metric} {baseline.fitness:.2f}: {difference}"
    if not result.on_images:
        return f"{text}."
    if noise is None or best.genotype != noise.best or genotype not in noise.behind:
        return f"{text}. Whether that exceeds the noise of archval is not known."
    interval = -noise.behind[genotype][1], -noise.behind[genotype][0]
    return (
        f"{text} (95 % interval of the difference {format_range(interval)}), which "
        f"{says_exceeds(interval)} the noise of archval."
    )


def describe_noise(result: SearchResult) -> list[str]:
    """Return sentences: which candidates cannot be told apart, and what archval would do it."""
    metric, noise, stopped = result.metric, result.noise, result.num_stopped
    if noise is None:
        return [
            f"How far {metric} depends on the images of archval is not known here: intervals are "
            "computed during a search, for AP of COCO-format data and for accuracy."
        ]
    others, known = len(result.complete) - 1 - stopped, len(noise.behind)
    scored = " scored on all images" if stopped else ""
    if not known and not stopped:
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
    if 0 < known < others:
        lines[0] += f" {others - known} were scored elsewhere and have no interval."
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
