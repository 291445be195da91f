"""An endless training loader that resumes where a killed one stopped."""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from random import Random

import numpy as np
import torch
from detectron2.data import (
    DatasetFromList,
    build_batch_data_loader,
    get_detection_dataset_dicts,
)
from detectron2.utils import comm
from torch.utils.data import Dataset, Sampler

from .loaders import build_train_mapper

__all__ = ["ResumableLoader", "build_resumable_loader"]


class ResumableLoader(Iterable[list[dict]]):
    """Endless batches of this rank's share of the images, each a function of seed and position.

    Order and augmentation of the n-th image depend only on the seed and n, not on the number of
    workers or on where the loader started. Detectron2's own loaders start over. Images are not
    grouped by aspect ratio, because then a batch would depend on all earlier ones.

    Attributes:
        position: number of batches taken so far.

    Args:
        images: entries of datasets in Detectron2's format.
        mapper: maps an entry to an input of the model.
        ims_per_batch: images per batch, over all ranks.

    Raises:
        ValueError: the ranks cannot share a batch evenly.
    """

    def __init__(
        self,
        images: Sequence[dict],
        mapper: Callable[[dict], dict],
        *,
        ims_per_batch: int,
        seed: int,
        num_workers: int = 0,
    ):
        if ims_per_batch % comm.get_world_size():
            raise ValueError(
                f"SOLVER.IMS_PER_BATCH is {ims_per_batch}; expected a multiple of the "
                f"{comm.get_world_size()} processes."
            )
        self.dataset = _SeededImages(images, mapper, seed)
        self.ims_per_batch = ims_per_batch
        self.seed = seed
        self.num_workers = num_workers
        self.position = 0

    def __iter__(self) -> Iterator[list[dict]]:
        sampler = _NumberedSampler(
            len(self.dataset), self.seed, start=self.position * self.ims_per_batch
        )
        batches = build_batch_data_loader(
            self.dataset,
            sampler,
            self.ims_per_batch,
            num_workers=self.num_workers,
            # torch samples a seed when the iteration starts; a generator of its own leaves the one
            # of the training unchanged.
            generator=torch.Generator(),
        )
        for batch in batches:
            self.position += 1  # batches that were taken; the workers are ahead of it
            yield batch

    def state_dict(self) -> dict:
        return {"position": self.position, "ims_per_batch": self.ims_per_batch}

    def load_state_dict(self, state: dict) -> None:
        """Set the position; call this before the first batch is taken.

        If ``ims_per_batch`` has changed, the position is rounded up, so no image up to the saved
        position is repeated.
        """
        self.position = -(-state["position"] * state["ims_per_batch"] // self.ims_per_batch)


class _NumberedSampler(Sampler):
    """Yields ``(number, index)`` of this rank's images: one shuffled epoch after the other."""

    def __init__(self, size: int, seed: int, start: int):
        self.size, self.seed, self.start = size, seed, start
        # Read here, because a worker iterates it, and a spawned worker has no process group.
        self.rank, self.world_size = comm.get_rank(), comm.get_world_size()

    def __iter__(self) -> Iterator[tuple[int, int]]:
        # Images are numbered over all ranks and epochs; rank r takes start + r, then every
        # world_size-th. The order of an epoch is sampled from the seed and the epoch.
        number, epoch, order = self.start + self.rank, None, []
        while True:
            if number // self.size != epoch:
                epoch = number // self.size
                order = Random(f"{self.seed}/{epoch}").sample(range(self.size), self.size)
            yield number, order[number % self.size]
            number += self.world_size


class _SeededImages(Dataset):
    """Maps ``(number, index)`` to an image with an augmentation that is seeded by the number."""

    def __init__(self, images: Sequence[dict], mapper: Callable[[dict], dict], seed: int):
        self.images, self.mapper, self.seed = images, mapper, seed

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, item: tuple[int, int]) -> dict:
        number, index = item
        with _generators_seeded(f"{self.seed}/image {number}"):
            return self.mapper(self.images[index])


@contextmanager
def _generators_seeded(key: str) -> Iterator[None]:
    """Seed the global generators, which augmentations use, and restore them on exit."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    seed = Random(key).getrandbits(32)
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def build_resumable_loader(cfg, names: Sequence[str], seed: int) -> ResumableLoader:
    """Build the loader of registered datasets, with batches and augmentation as in training."""
    images = get_detection_dataset_dicts(
        list(names), filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
    )
    return ResumableLoader(
        # Serialized, so that workers share the memory of a large dataset instead of copying it.
        DatasetFromList(images, copy=False),
        build_train_mapper(cfg, names),
        ims_per_batch=cfg.SOLVER.IMS_PER_BATCH,
        seed=seed,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
    )
