"""The race of a search: which candidate the others have to reach, and whether there can be one."""

from collections.abc import Callable, Sequence

import optuna

from crnas_d2.config.fitness import needs_supernet
from crnas_d2.data import fixed_images
from crnas_d2.evaluation import (
    DetectionMatches,
    ImageHits,
    NoiseFiles,
    Race,
    Rival,
    evaluator_builder,
    pauses,
)
from crnas_d2.search import Candidate, Searcher, evaluated
from crnas_d2.space import Genotype, SearchSpace

Results = DetectionMatches | ImageHits


def check_racing(cfg, searcher: Searcher) -> None:
    """Raise ValueError if ``SEARCH.RACING`` is enabled in a search that cannot race."""
    if not cfg.SEARCH.RACING.ENABLED:
        return
    reason = ""
    if not needs_supernet(cfg):
        reason = f"SEARCH.SCORE '{cfg.SEARCH.SCORE}' looks at no images"
    elif searcher.num_decisive is None:
        reason = (
            f"SEARCH.ALGORITHM '{searcher.name}' depends on more than its best candidates: use "
            "'exhaustive' or 'evolution', or"
        )
    elif cfg.SEARCH.SECOND_OBJECTIVE:
        reason = (
            f"SEARCH.SECOND_OBJECTIVE '{cfg.SEARCH.SECOND_OBJECTIVE}' needs the fitness of all "
            "candidates"
        )
    elif not (builder := evaluator_builder(cfg.DATASETS.ARCHVAL[0])).gives_images:
        reason = (
            f"the evaluator of {cfg.DATASETS.ARCHVAL[0]}, '{builder.name}', says nothing of single "
            "images: register the data in COCO's format, or"
        )
    if reason:
        if not reason.endswith(" or"):
            reason += ":"
        raise ValueError(f"SEARCH.RACING.ENABLED is True, but {reason} set it to False.")
    race_pauses(cfg)


def num_kept(cfg, searcher: Searcher) -> int:
    """Return how many of the best candidates have to be scored on all images."""
    return max(searcher.num_decisive or 0, cfg.SEARCH.FINALISTS.NUMBER)


def race_pauses(cfg) -> list[int]:
    """Return after how many batches of archval a race decides.

    Raises:
        ValueError: archval is too small.
    """
    size = cfg.SEARCH.IMS_PER_BATCH
    num_batches = -(-len(fixed_images(cfg, cfg.DATASETS.ARCHVAL)) // size)
    return pauses(num_batches, cfg.SEARCH.RACING.SHARES, size)


def describe_racing(cfg, searcher: Searcher) -> dict[str, object]:
    """Describe a race for the study, whose scores are estimates in part."""
    racing = cfg.SEARCH.RACING
    if not racing.ENABLED:
        return {}
    return {
        "SEARCH.RACING": {
            "SHARES": list(racing.SHARES),
            "CONFIDENCE": racing.CONFIDENCE,
            "best ones on all images": num_kept(cfg, searcher),
        }
    }


def summarize(cfg, searcher: Searcher) -> str:
    """Return the line about a race that is shown when the search begins."""
    images = [f"{number * cfg.SEARCH.IMS_PER_BATCH:,}" for number in race_pauses(cfg)]
    kept = num_kept(cfg, searcher)
    rank = "the best" if kept == 1 else f"one of the {kept} best"
    return (
        f"racing: after {', '.join(images)} images, a candidate stops if with probability "
        f"{cfg.SEARCH.RACING.CONFIDENCE:g} it cannot be {rank}"
    )


def make_race(cfg, study: optuna.Study, searcher: Searcher) -> Race | None:
    """Build the race of a worker; ``None`` if the search does not race."""
    if not cfg.SEARCH.RACING.ENABLED:
        return None
    files = NoiseFiles(cfg.OUTPUT_DIR)
    find = RivalFinder(study, searcher.space, num_kept(cfg, searcher), files.read_results)
    return Race(cfg.SEARCH.METRIC, race_pauses(cfg), cfg.SEARCH.RACING.CONFIDENCE, find)


class RivalFinder:
    """Finds the candidate that another one has to reach: the worst of the best ones.

    Where its image results cannot be read, e.g. because it was evaluated on a machine with another
    folder, the next one takes its place: a candidate that cannot reach a worse one is stopped, too.

    Args:
        num_kept: number of candidates that are not to be mistaken for worse ones.
        read: returns the image results of a candidate by its genotype and fitness, or ``None``.
    """

    def __init__(
        self,
        study: optuna.Study,
        space: SearchSpace,
        num_kept: int,
        read: Callable[[Genotype, float], Results | None],
    ):
        self.study = study
        self.space = space
        self.num_kept = num_kept
        self.read = read
        self._found: tuple[Genotype, Rival] | None = None

    def __call__(self) -> Rival | None:
        for candidate in self._eligible():
            if self._found is None or self._found[0] != candidate.genotype:
                results = self.read(candidate.genotype, candidate.fitness)
                if results is None:
                    continue
                self._found = candidate.genotype, Rival(candidate.fitness, results)
            return self._found[1]
        return None

    def _eligible(self) -> Sequence[Candidate]:
        candidates = evaluated(self.study, self.space)
        whole = [c for c in candidates if c.fitness is not None and c.images is None]
        return whole[self.num_kept - 1 :]
