"""Scores of resampled images: how far a fitness depends on the choice of the images."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

_CHUNK = 2**24  # numbers in one array, to bound the memory
_RECALLS = np.linspace(0, 1, 101)  # of COCO's average precision


def resampled_images(num_images: int, number: int | None = None, seed: int = 0) -> np.ndarray:
    """Draw samples with replacement of the images of a dataset, the same ones for the same seed.

    Return how often each image occurs in each sample, ``(number, num_images)``; by default 500
    samples, fewer for more than 2,000 images, at least 200.
    """
    if number is None:
        number = int(np.clip(1_000_000 // num_images, 200, 500))
    random = np.random.default_rng(seed)
    return random.multinomial(num_images, np.full(num_images, 1 / num_images), size=number)


@dataclass(frozen=True)
class ImageHits:
    """The results of top-k accuracy per image: whether the true class is among the k best."""

    hits: np.ndarray  # (images,)

    @property
    def num_images(self) -> int:
        return len(self.hits)

    def subset(self, images: np.ndarray) -> "ImageHits":
        """Select images by index; an index that occurs twice counts as two images."""
        return ImageHits(self.hits[images])

    def scores(self, counts: np.ndarray) -> np.ndarray:
        """Return the accuracy in percent of samples of the images, ``(samples,)``."""
        return 100 * (counts @ self.hits) / counts.sum(axis=1)


@dataclass(frozen=True)
class DetectionMatches:
    """The results of COCO's average precision per image, for one task and range of areas.

    Detections are sorted by category, then by falling score; equal ones by image.
    """

    category: np.ndarray  # index of that of each detection, (detections,)
    image: np.ndarray  # the same
    score: np.ndarray  # (detections,)
    is_true: np.ndarray  # whether it matches an object, (IoU thresholds, detections)
    is_ignored: np.ndarray  # whether it counts neither as true nor as false, e.g. in a crowd
    objects: np.ndarray  # number of objects to find, (categories, images)

    @classmethod
    def from_images(cls, categories: list[list[tuple[Any, ...]]]) -> "DetectionMatches":
        """Collect the results of the images.

        These are, for each category and image in their order: the scores ``(D,)``,
        ``is_true (T, D)``, ``is_ignored (T, D)``, and the number of objects.
        """
        detections, objects = [], []
        for category, images in enumerate(categories):
            scores, is_true, is_ignored, numbers = zip(*images, strict=True)
            score = np.concatenate(scores, dtype=float)
            image = np.repeat(np.arange(len(images)), [len(each) for each in scores])
            flags = (np.concatenate(each, axis=1).astype(bool) for each in (is_true, is_ignored))
            columns = np.full(len(score), category), image, score, *flags
            order = np.argsort(-score, kind="stable")
            detections.append([column[..., order] for column in columns])
            objects.append(numbers)
        joined = [np.concatenate(parts, axis=-1) for parts in zip(*detections, strict=True)]
        return cls(*[*joined, np.array(objects)])

    @classmethod
    def joined(cls, parts: Sequence["DetectionMatches"]) -> "DetectionMatches":
        """Return the results on the images of several datasets with the same categories."""
        starts = np.cumsum([0, *(part.num_images for part in parts[:-1])])
        image = np.concatenate([p.image + start for p, start in zip(parts, starts, strict=True)])
        category, score, is_true, is_ignored = (
            np.concatenate([getattr(part, name) for part in parts], axis=-1)
            for name in ("category", "score", "is_true", "is_ignored")
        )
        order = np.lexsort((image, -score, category))
        return cls(
            category[order],
            image[order],
            score[order],
            is_true[:, order],
            is_ignored[:, order],
            np.concatenate([part.objects for part in parts], axis=1),
        )

    @property
    def num_images(self) -> int:
        return self.objects.shape[1]

    def subset(self, images: np.ndarray) -> "DetectionMatches":
        """Select images by index; an index that occurs twice counts as two images."""
        times = np.bincount(images, minlength=self.num_images)
        of_image = times[self.image]  # (detections,)
        kept = np.repeat(np.arange(len(of_image)), of_image)
        # The numbers of an image lie side by side in `order`, its detections take one each.
        order = np.argsort(images, kind="stable")
        copy = np.arange(len(kept)) - np.repeat(np.cumsum(of_image) - of_image, of_image)
        image = order[(np.cumsum(times) - times)[self.image[kept]] + copy]
        return DetectionMatches(
            self.category[kept],
            image,
            self.score[kept],
            self.is_true[:, kept],
            self.is_ignored[:, kept],
            self.objects[:, images],
        )

    def scores(self, counts: np.ndarray) -> np.ndarray:
        """Return the average precision in percent of samples of the images, ``(samples,)``.

        ``counts``, ``(samples, images)``, says how often each image occurs in each sample; a sample
        without objects gives NaN. Where detections of one image have equal scores, those of its
        copies lie side by side.
        """
        most_detections = int(np.diff(self._ranges).max(initial=0))
        rows = max(1, _CHUNK // max(1, most_detections))
        starts = range(0, len(counts), rows)
        return np.concatenate([self._scores(counts[start : start + rows]) for start in starts])

    @cached_property
    def _ranges(self) -> np.ndarray:
        """Return where the detections of each category begin, and where the last ones end."""
        return np.searchsorted(self.category, np.arange(len(self.objects) + 1))

    def _scores(self, counts: np.ndarray) -> np.ndarray:
        # A row per image, so that picking images copies whole rows.
        weights = np.ascontiguousarray(counts.T)
        total, categories = np.zeros(len(counts)), np.zeros(len(counts), int)
        for category, objects in enumerate(self.objects):
            wanted = objects @ weights  # objects in each sample
            total += self._precision(category, weights, wanted)
            categories += wanted > 0
        with np.errstate(invalid="ignore"):
            return 100 * total / categories

    def _precision(self, category: int, weights: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """Return the mean over thresholds and recalls of one category; 0 without objects."""
        part = slice(*self._ranges[category : category + 2])
        is_true, is_ignored = self.is_true[:, part], self.is_ignored[:, part]
        drawn = weights[self.image[part]]  # (detections, samples)
        all_counted = np.cumsum(drawn, axis=0)
        mean = np.zeros(weights.shape[1])
        for true, ignored in zip(is_true & ~is_ignored, is_ignored, strict=True):
            # The precision only has maxima at true detections.
            if not true.any():
                continue
            counted = all_counted
            if ignored.any():
                counted = np.cumsum(np.where(ignored[:, None], 0, drawn), axis=0)
            found = np.cumsum(drawn[true], axis=0)
            # Duplicates lie side by side. Within those of a true detection, the precision rises, so
            # that the last one stands for all of them.
            precision = found / np.maximum(counted[true], 1)
            precision = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
            # How many of COCO's recalls are reached, compared as pycocotools does.
            recall = found / np.maximum(wanted, 1)
            nearest = np.rint(recall * (len(_RECALLS) - 1)).astype(np.int64)
            reached = nearest + (_RECALLS[nearest] <= recall)
            mean += (precision * np.diff(reached, axis=0, prepend=0)).sum(axis=0)
        return np.where(wanted > 0, mean, 0) / (len(_RECALLS) * len(is_true))


ImageResults = DetectionMatches | ImageHits
