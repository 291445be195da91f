"""Training images that are decoded once, where nothing of their augmentation is random."""

from collections.abc import Callable

__all__ = ["KeepingMapper", "is_random"]


class KeepingMapper:
    """Keep in memory what a mapper returns, which must depend on the entry alone.

    Args:
        mapper: from an entry of a dataset to an input of the model with an ``image``.
        limit: bytes of images to keep; those beyond it are mapped again each time.
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
            mapped = self.mapper(dataset_dict)
            if self._size + mapped["image"].nbytes <= self.limit:
                self._size += mapped["image"].nbytes
                self._kept[key] = mapped
        # Models replace entries, but leave the tensors as they are.
        return dict(mapped)


def is_random(cfg) -> bool:
    """Whether the augmentation of Detectron2's detection data, in training, has random parts."""
    inputs = cfg.INPUT
    sizes = set(inputs.MIN_SIZE_TRAIN)
    return inputs.RANDOM_FLIP != "none" or inputs.CROP.ENABLED or len(sizes) > 1
