"""What a detector takes for what: objects of each class by the class that is detected there."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from detectron2.structures import BoxMode
from pycocotools import mask

LEAST_SCORE = LEAST_IOU = 0.5


@dataclass(frozen=True)
class Mistakes:
    """The detections of a network, compared with the objects of a dataset.

    Only detections with a score of at least 0.5 count. One finds an object of its class that it
    overlaps with an IoU of at least 0.5; what is left over is then matched across classes. A
    detection of a crowd counts as nothing.
    """

    # Objects by class and by the class that was detected, (classes + 1, classes + 1): last row, no
    # object; last column, no detection.
    counts: np.ndarray
    by_image: Mapping[Any, int]  # missed, false and confused ones, by the id of the image

    @classmethod
    def of(
        cls,
        images: Iterable[Mapping[str, Any]],
        detections: Sequence[Mapping[str, Any]],
        to_index: Mapping[int, int],
    ) -> "Mistakes":
        """Match the detections.

        Args:
            images: Detectron2's dicts of a dataset.
            detections: in COCO's format.
            to_index: from the dataset's category ids to the index of the class.
        """
        found: dict[Any, list[Mapping[str, Any]]] = {}
        for each in detections:
            if each["score"] >= LEAST_SCORE:
                found.setdefault(each["image_id"], []).append(each)
        size = max(to_index.values()) + 2
        counts, by_image = np.zeros((size, size), int), {}
        for image in images:
            ranked = sorted(found.get(image["image_id"], ()), key=lambda each: -each["score"])
            pairs = _match(
                [(each["bbox"], to_index[each["category_id"]]) for each in ranked],
                image.get("annotations", ()),
            )
            for pair in pairs:
                counts[pair] += 1
            by_image[image["image_id"]] = sum(wanted != given for wanted, given in pairs)
        return cls(counts, by_image)

    @property
    def totals(self) -> dict[str, int]:
        """Objects that are found, of another class, or missed; detections without an object."""
        inner, right = self.counts[:-1, :-1], int(np.trace(self.counts))
        return {
            "found": right,
            "taken for another class": int(inner.sum()) - right,
            "missed": int(self.counts[:-1, -1].sum()),
            "detected where no object is": int(self.counts[-1, :-1].sum()),
        }


def _match(
    detections: Sequence[tuple[Sequence[float], int]], annotations: Sequence[Mapping[str, Any]]
) -> list[tuple[int, int]]:
    """Return pairs of the class of an object and of a detection, -1 where there is none."""
    boxes = [BoxMode.convert(a["bbox"], a["bbox_mode"], BoxMode.XYWH_ABS) for a in annotations]
    crowds = [int(a.get("iscrowd", 0)) for a in annotations]
    classes = [a["category_id"] for a in annotations]
    overlaps = np.zeros((len(detections), len(boxes)))
    if detections and boxes:
        corners = [np.array(each, float) for each in ([box for box, _ in detections], boxes)]
        overlaps = np.array(mask.iou(*corners, crowds))
    matched: dict[int, int] = {}  # the object by its detection
    for same_class in (True, False):
        for number, (_, given) in enumerate(detections):
            free = [
                n
                for n, (wanted, crowd) in enumerate(zip(classes, crowds, strict=True))
                if not crowd and n not in matched.values() and (wanted == given or not same_class)
            ]
            best = max(free, key=lambda n: overlaps[number, n], default=None)
            if number not in matched and best is not None and overlaps[number, best] >= LEAST_IOU:
                matched[number] = best
    in_crowd = overlaps[:, np.array(crowds, bool)].max(axis=1, initial=0) >= LEAST_IOU
    pairs = [
        (classes[matched[n]] if n in matched else -1, given)
        for n, (_, given) in enumerate(detections)
        if n in matched or not in_crowd[n]
    ]
    missed = set(range(len(boxes))) - set(matched.values())
    return pairs + [(classes[n], -1) for n in sorted(missed) if not crowds[n]]
