"""Top-1 and top-5 accuracy."""

from typing import Any

import numpy as np
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from .bootstrap import ImageHits


class ClassificationEvaluator(DatasetEvaluator):
    """Accuracy in percent: how often the true class is among the k with the highest scores.

    A class that ties with the true one ranks above it, so constant scores do not count as right
    answers, and neither do scores that are NaN. If ``distributed``, the images of all ranks count;
    otherwise those of this process.
    """

    def __init__(self, *, distributed: bool = True):
        self.distributed = distributed
        self.reset()

    def reset(self) -> None:
        self._ranks: list[int] = []

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Rank the true classes, ``label`` of the inputs, by ``scores`` of the outputs, (C,)."""
        for image, output in zip(inputs, outputs, strict=True):
            scores = output["scores"]
            # Rank of the true class, from 1. Negated, because comparisons with NaN are false.
            below = scores < scores[image["label"]]
            self._ranks.append(int((~below).sum()))

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Return ``{"classification": {"top1": ..., "top5": ...}}``; ``{}`` on other ranks."""
        counts = [len(self._ranks), *(sum(rank <= k for rank in self._ranks) for k in (1, 5))]
        if self.distributed:
            comm.synchronize()
            gathered = comm.gather(counts, dst=0)
            if not comm.is_main_process():
                return {}
            counts = [sum(column) for column in zip(*gathered, strict=True)]
        images, *right = counts
        accuracies = [100 * count / images if images else float("nan") for count in right]
        return {"classification": dict(zip(("top1", "top5"), accuracies, strict=True))}

    def image_results(self, metric: str) -> ImageHits | None:
        """Return which images of this process count as right; ``None`` for another metric."""
        return self.results_so_far(metric)[0]

    def results_so_far(self, metric: str) -> tuple[ImageHits | None, np.ndarray]:
        """Return the same for the images processed so far, and their indices."""
        most = {"classification/top1": 1, "classification/top5": 5}.get(metric)
        hits = None if most is None else ImageHits(np.array(self._ranks) <= most)
        return hits, np.arange(len(self._ranks))
