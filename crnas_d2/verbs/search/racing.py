"""The race of a search: which candidate the others have to reach, and whether there can be one."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

import optuna
from detectron2.config import CfgNode

from crnas_d2.data import fixed_images
from crnas_d2.engine.scores import Score
from crnas_d2.evaluation import ImageResults, Rival, evaluator_builder, pauses
from crnas_d2.search import Searcher, evaluated
from crnas_d2.space import Genotype, SearchSpace

Read = Callable[[Genotype, float], ImageResults | None]


@dataclass(frozen=True)
class RaceSettings:
    """How candidates race."""

    shares: tuple[float, ...]  # of archval, after which a race decides
    pauses: tuple[int, ...]  # the same in batches
    batch_size: int
    confidence: float  # probability with which a candidate that is stopped cannot win
    num_kept: int  # of the best candidates, which have to be scored on all images

    @classmethod
    def from_config(
        cls, cfg: CfgNode, searcher: Searcher, score: type[Score]
    ) -> "RaceSettings | None":
        """Return the settings of ``SEARCH.RACING``; ``None`` if it is not enabled."""
        racing, size = cfg.SEARCH.RACING, cfg.SEARCH.IMS_PER_BATCH
        if not racing.ENABLED:
            return None
        if reason := _obstacle(cfg, searcher, score):
            raise ValueError(f"SEARCH.RACING.ENABLED is True, but {reason} set it to False.")
        num_batches = -(-len(fixed_images(cfg, cfg.DATASETS.ARCHVAL)) // size)
        parts = tuple(pauses(num_batches, racing.SHARES, size))
        kept = num_kept(cfg, searcher)
        return cls(tuple(racing.SHARES), parts, size, racing.CONFIDENCE, kept)

    def describe(self) -> dict[str, object]:
        """Return what identifies the race for the study, whose scores are estimates in part."""
        kept = {"best ones on all images": self.num_kept}
        return {"SHARES": list(self.shares), "CONFIDENCE": self.confidence, **kept}

    def summary(self) -> str:
        images = ", ".join(f"{number * self.batch_size:,}" for number in self.pauses)
        rank = "the best" if self.num_kept == 1 else f"one of the {self.num_kept} best"
        stops = f"a candidate stops if with probability {self.confidence:g} it cannot be {rank}"
        return f"racing: after {images} images, {stops}"


def num_kept(cfg: CfgNode, searcher: Searcher) -> int:
    """Return how many of the best candidates have to be scored on all images."""
    return max(searcher.num_decisive or 0, cfg.SEARCH.FINALISTS.NUMBER)


def _obstacle(cfg: CfgNode, searcher: Searcher, score: type[Score]) -> str:
    """Return why a search cannot race, up to the advice not to."""
    if not score.uses_supernet:
        return f"SEARCH.SCORE '{score.name}' looks at no images:"
    if searcher.num_decisive is None:
        why = f"SEARCH.ALGORITHM '{searcher.name}' depends on more than its best candidates"
        return f"{why}: use 'exhaustive' or 'evolution', or"
    if second := cfg.SEARCH.SECOND_OBJECTIVE:
        return f"SEARCH.SECOND_OBJECTIVE '{second}' needs the fitness of all candidates:"
    archval = cfg.DATASETS.ARCHVAL[0]
    if not (builder := evaluator_builder(cfg, archval)).gives_images:
        why = f"the evaluator of {archval}, '{builder.name}', says nothing of single images"
        return f"{why}: register the data in COCO's format, or"
    return ""


def rival_finder(
    study: optuna.Study, space: SearchSpace, num_kept: int, read: Read
) -> Callable[[], Rival | None]:
    """Return what finds the candidate that another one has to reach: the worst of the best ones.

    Where its image results cannot be read, e.g. because it was evaluated on a machine with another
    folder, the next one takes its place: a candidate that cannot reach a worse one is stopped, too.

    Args:
        num_kept: number of candidates that are not to be mistaken for worse ones.
        read: returns the image results of a candidate by its genotype and fitness, or ``None``.
    """
    last: dict[Genotype, Rival] = {}

    def find() -> Rival | None:
        whole = (c for c in evaluated(study, space) if c.images is None)
        for candidate in islice(whole, num_kept - 1, None):
            genotype, fitness = candidate.genotype, candidate.fitness
            if fitness is None:
                break  # those without one are the last
            if genotype not in last:
                if (results := read(genotype, fitness)) is None:
                    continue
                last.clear()
                last[genotype] = Rival(fitness, results)
            return last[genotype]
        return None

    return find
