"""Decode training images only once, if their augmentation is not random."""

from collections.abc import Callable

from .generators import generators_seeded


class KeepingMapper:
    """Caches the results of a mapper, which must depend only on the entry.

    Args:
        mapper: maps an entry of a dataset to an input of the model with an ``image``.
        limit: of the cache, in bytes of images; the others are mapped again each time.
    """

    def __init__(self, mapper: Callable[[dict], dict], *, limit: int):
        self.mapper = mapper
        self.limit = limit
        self._size = 0
        self._kept: dict[tuple, dict] = {}

    def __call__(self, dataset_dict: dict) -> dict:
        # Two datasets may list one file with different annotations.
        key = (dataset_dict["file_name"], dataset_dict.get("image_id"))
        mapped = self._kept.get(key)
        if mapped is None:
            # Detectron2 draws a number even for a choice of one. A resumed training maps the images
            # again, and must not draw more than an uninterrupted one.
            with generators_seeded(f"{key}"):
                mapped = self.mapper(dataset_dict)
            if self._size + mapped["image"].nbytes <= self.limit:
                self._size += mapped["image"].nbytes
                self._kept[key] = mapped
        # A shallow copy is enough: models replace entries, but do not change the tensors.
        return dict(mapped)


def is_random(cfg) -> bool:
    """Whether Detectron2's augmentation of detection data is random in training."""
    inputs = cfg.INPUT
    sizes = set(inputs.MIN_SIZE_TRAIN)
    return inputs.RANDOM_FLIP != "none" or inputs.CROP.ENABLED or len(sizes) > 1
