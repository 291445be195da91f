"""What a recipe needs to know of a dataset: sizes of images and boxes, objects per image."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from crnas_d2.data.annotations.coco import Record

_STRIDES = (4, 8, 16, 32, 64)  # of p2 to p6
_CELLS = 4  # the largest anchor has at least so many cells of the coarsest level
_CELLS_OF_LEVEL = 5  # an anchor above p2 has at least so many cells of its level
# Standard deviation of the difference of two networks' AP over bootstrap samples of archval, times
# the root of its number of images; measured.
_SPREAD = 16.0
_RATIO_STEP = 1.5  # two aspect ratios that are closer count as one


@dataclass(frozen=True)
class Statistics:
    """Sizes and counts of the images that are trained on, in pixels of the files.

    Attributes:
        images: number of images.
        shorter, longer: medians of the shorter and the longer side of an image.
        boxes: (N, 2), width and height of each object relative to the shorter side of its image.
        objects: 95 % of the images have at most so many objects.
    """

    images: int
    shorter: int
    longer: int
    boxes: np.ndarray
    objects: int

    @classmethod
    def of(cls, cocos: Sequence[Record]) -> "Statistics":
        """Read COCO dicts whose annotations have been checked; crowd regions do not count."""
        images = {(n, i["id"]): i for n, coco in enumerate(cocos) for i in coco["images"]}
        shorter = {key: min(i["width"], i["height"]) for key, i in images.items()}
        longer = [max(i["width"], i["height"]) for i in images.values()]
        objects = [
            ((n, a["image_id"]), a["bbox"])
            for n, coco in enumerate(cocos)
            for a in coco["annotations"]
            if not a.get("iscrowd")
        ]
        boxes = [(box[2] / shorter[key], box[3] / shorter[key]) for key, box in objects]
        counts = Counter(key for key, _ in objects)
        return cls(
            images=len(images),
            shorter=round(np.median(list(shorter.values()))),
            longer=round(np.median(longer)),
            boxes=np.array(boxes or [(0.1, 0.1)], dtype=float),
            objects=math.ceil(np.quantile(list(counts.values()) or [1], 0.95)),
        )

    def box_size(self, share: float) -> float:
        """Return the root of the area, relative to the shorter side, of a quantile of objects."""
        return float(np.quantile(np.sqrt(self.boxes.prod(axis=1)), share))

    def input_size(
        self, most: tuple[int, int], least_object: float = math.inf, least_area: float = 0.0
    ) -> tuple[int, int]:
        """Return the shorter and the longer side, in pixels, to which images are resized.

        They are the medians of the files, at most ``most``. Images are reduced further, as long as
        95 % of the objects keep ``least_object`` pixels and the image ``least_area``.
        """
        scale = min(1.0, most[0] / self.shorter, most[1] / self.longer)
        if least_object < math.inf:
            for_objects = least_object / (self.box_size(0.05) * self.shorter)
            for_area = math.sqrt(least_area / (self.shorter * self.longer))
            scale = min(scale, max(for_objects, for_area))
        return round(self.shorter * scale), round(self.longer * scale)


@dataclass(frozen=True)
class Anchors:
    """Anchors of an RPN on levels of an FPN that follow each other.

    Attributes:
        sizes: of each level, in pixels of the resized image.
        ratios: heights divided by widths.
        first: number of the finest level.
    """

    sizes: list[list[int]]
    ratios: list[float]
    first: int = 2

    @property
    def levels(self) -> list[str]:
        return [f"p{number}" for number in range(self.first, self.first + len(self.sizes))]


def fit_anchors(statistics: Statistics, shorter: int) -> Anchors:
    """Fit anchors to the boxes of a dataset.

    Sizes are about an octave apart, from the size that 5 % of the objects are smaller than to that
    of 95 %. They are spread over as many levels as have cells of at most a quarter of the largest
    size, because on coarser ones an object may lie between two anchors. These are the coarsest with
    cells of at most a fifth of their own sizes: large objects need large receptive fields. Aspect
    ratios are the quantiles 10 %, 50 % and 90 % of height / width; of two within a factor of 1.5
    one stays.
    ``shorter`` is the side of a resized image in pixels.
    """
    low, high = (max(4.0, statistics.box_size(share) * shorter) for share in (0.05, 0.95))
    octaves = math.log2(high / low)
    usable = sum(_CELLS * stride <= high for stride in _STRIDES)
    # Two levels at least, because a network with one has no pyramid.
    levels = min(max(usable, 2), max(2, round(octaves) + 1))
    per_level = max(1, math.ceil((round(octaves) + 1) / levels))
    sizes = np.geomspace(low, high, levels * per_level).round().astype(int).tolist()
    by_level = [sizes[n : n + per_level] for n in range(0, len(sizes), per_level)]
    first = 0  # of _STRIDES
    while first + levels < len(_STRIDES) and all(
        _CELLS_OF_LEVEL * stride <= level[0]
        for level, stride in zip(by_level, _STRIDES[first + 1 :], strict=False)
    ):
        first += 1
    return Anchors(by_level, _ratios(statistics.boxes), 2 + first)


def _ratios(boxes: np.ndarray) -> list[float]:
    found: list[float] = []
    middle, *sides = np.quantile(boxes[:, 1] / boxes[:, 0], (0.5, 0.1, 0.9)).clip(0.2, 5)
    if abs(math.log(middle)) < math.log(_RATIO_STEP) / 2:
        middle = 1.0
    for ratio in (middle, *sides):
        if all(abs(math.log(ratio / other)) >= math.log(_RATIO_STEP) for other in found):
            found.append(round(float(ratio), 2))
    return sorted(found)


def told_apart(images: int) -> float:
    """Return the difference in AP of two networks, in percent, that so many images tell apart.

    The 95 % interval of the difference, on the same images, leaves out 0; see docs/DATASETS.md.
    """
    return 1.96 * _SPREAD / math.sqrt(images)


def archval_to_tell(difference: float) -> int:
    """Return how many images tell two networks apart whose AP differs by so much, in percent."""
    return int(round((1.96 * _SPREAD / difference) ** 2, -1))
