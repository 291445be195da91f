"""What a search has found, in a few sentences."""

import math
from collections.abc import Mapping, Sequence

from crnas_d2.common.formats import format_quantity
from crnas_d2.evaluation import FitnessNoise, images_to_tell
from crnas_d2.search import Candidate, Finalist
from crnas_d2.space import AdditiveCost, Genotype

_NAMED = 5  # candidates in a sentence
_NOTHING = 0.5  # percent, below which all differences are noise
_FEWEST = 10  # images for which the noise is worth a sentence
_TOLD = (1.0, 0.5)  # differences of scores for which a number of images is given


def search_verdict(
    candidates: Sequence[Candidate],
    costs: Mapping[str, AdditiveCost],
    *,
    metric: str,
    scope: str,
    scored: str,
    noise: FitnessNoise | None,
    baseline: tuple[Genotype, str] | None,
    finalists: Sequence[Finalist] = (),
    trained_metric: str = "",
    on_images: bool = True,
) -> list[str]:
    """Return sentences: what was found, its cost, the baseline, and the noise.

    Args:
        candidates: complete and with a fitness, the best first.
        scope: what the costs count.
        scored: on what, and how.
        baseline: genotype, and what it is.
        finalists: the best first, if there are any.
        trained_metric: the name of their fitness.
        on_images: whether images were looked at, so that their sample matters.
    """
    best = finalists[0].candidate if finalists else candidates[0]
    found = (
        f"Found: {best.genotype}, the best of {len(candidates)} candidates: {metric} "
        f"{best.fitness:.2f}{_interval(noise, best.genotype)} {scored}."
    )
    if finalists:
        found = (
            f"Found: {best.genotype}: {trained_metric} {finalists[0].fitness:.2f} on archval "
            f"after its own training, the best of {len(finalists)} finalists; {metric} "
            f"{best.fitness:.2f} in the search of {len(candidates)} candidates, {scored}."
        )
    lines = [found]
    if costs:
        amounts = [f"{format_quantity(c(best.genotype))} {c.unit}" for c in costs.values()]
        line = f"Cost: {', '.join(amounts)} ({scope})"
        shares = _shares(best.genotype, baseline, costs)
        if shares:
            line += f"; {', '.join(shares)} of the baseline"
        lines.append(f"{line}.")
    if baseline is not None:
        lines.append(_against(best, candidates, baseline, metric, noise, on_images))
    if not on_images:
        return [*lines, "No image was looked at: train the network before trusting its score."]
    if best.fitness < _NOTHING:
        lines.append(
            "That is next to nothing, so the candidates differ by noise alone: train longer, or "
            "from better weights."
        )
    return [*lines, *describe_noise(candidates, metric, noise)]


def _shares(
    genotype: Genotype, baseline: tuple[Genotype, str] | None, costs: Mapping[str, AdditiveCost]
) -> list[str]:
    """Return the costs in percent of those of another baseline, if they are known."""
    if baseline is None or baseline[0] == genotype:
        return []
    try:
        amounts = [(cost(genotype), cost(baseline[0]), cost.unit) for cost in costs.values()]
    except ValueError:  # it lies outside the space
        return []
    return [f"{100 * own / other:.0f} % of the {unit}" for own, other, unit in amounts if other]


def _some(genotypes: Sequence[Genotype]) -> str:
    named = [str(genotype) for genotype in genotypes[:_NAMED]]
    return ", ".join([*named, *(["..."] if len(genotypes) > _NAMED else [])])


def _interval(noise: FitnessNoise | None, genotype: Genotype) -> str:
    if noise is None or genotype not in noise.intervals:
        return ""
    low, high = noise.intervals[genotype]
    return f" (95 % interval {low:.2f} to {high:.2f})"


def _against(
    best: Candidate,
    candidates: Sequence[Candidate],
    baseline: tuple[Genotype, str],
    metric: str,
    noise: FitnessNoise | None,
    on_images: bool,
) -> str:
    genotype, what = baseline
    scores = {candidate.genotype: candidate.fitness for candidate in candidates}
    if genotype == best.genotype:
        return f"It is the baseline, {what}."
    if genotype not in scores:
        return (
            f"The baseline {genotype}, {what}, is not among the candidates, e.g. because of "
            "SEARCH.BUDGET: train both networks and compare them."
        )
    less = best.fitness - scores[genotype]
    images = next(c.images for c in candidates if c.genotype == genotype)
    if images is not None:
        return (
            f"The baseline {genotype}, {what}, was stopped after {images:,} images, because it "
            f"could not win any more: its {metric} is about {scores[genotype]:.2f}, "
            f"{abs(less):.2f} {'less' if less >= 0 else 'more'}."
        )
    text = f"The baseline {genotype}, {what}, has {metric} {scores[genotype]:.2f}: "
    text += f"{abs(less):.2f} {'less' if less >= 0 else 'more'}"
    if not on_images:
        return f"{text}."
    if noise is None or best.genotype != noise.best or genotype not in noise.behind:
        return f"{text}. Whether that exceeds the noise of archval is not known."
    low, high = noise.behind[genotype]
    exceeds = "does not exceed" if noise.is_tied(genotype) else "exceeds"
    return (
        f"{text} (95 % interval of the difference {-high:.2f} to {-low:.2f}), which {exceeds} the "
        "noise of archval."
    )


def describe_noise(
    candidates: Sequence[Candidate], metric: str, noise: FitnessNoise | None
) -> list[str]:
    """Return sentences: which candidates cannot be told apart, and what archval would do it."""
    if noise is None:
        return [
            f"How far {metric} depends on the images of archval is not known here: intervals are "
            "computed during a search, for AP of COCO-format data and for accuracy."
        ]
    stopped = sum(candidate.images is not None for candidate in candidates)
    others = len(candidates) - 1 - stopped
    known = len(noise.behind)
    scored = " scored on all images" if stopped else ""
    if not known and not stopped:
        return []
    tied, lines = noise.tied, []
    if known:
        lines.append(
            f"{len(tied)} of the {known} other candidates{scored} cannot be told apart from the "
            f"best one on the {noise.num_images:,} images of archval: the 95 % interval of the "
            f"difference includes 0 ({_some(tied)})."
            if tied
            else f"The best one exceeds all {known} others{scored} by more than the noise of the "
            f"{noise.num_images:,} images of archval."
        )
    if 0 < known < others:
        lines[0] += f" {others - known} were scored elsewhere and have no interval."
    if stopped:
        lines.append(
            f"{stopped} candidate{'s were' if stopped > 1 else ' was'} stopped early by racing, "
            f"too far behind to be among the best: {metric} is an estimate there."
        )
    if math.isfinite(noise.spread) and noise.spread > 0:
        images = [images_to_tell(each, noise.spread, noise.num_images) for each in _TOLD]
        if min(images) >= _FEWEST:
            lines.append(
                f"By the noise measured here, {images[0]:,} images would tell candidates apart "
                f"that differ by {_TOLD[0]:g} in {metric}, and {images[1]:,} those that differ by "
                f"{_TOLD[1]:g}."
            )
    lines.append(
        "Training adds noise of its own: retrain with several seeds before trusting a small "
        "difference."
    )
    return lines
