"""Endless training loaders that resume where a killed one stopped."""

import signal
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from random import Random
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetFromList
from detectron2.data.build import (
    _train_loader_from_config,
    trivial_batch_collator,
    worker_init_reset_seed,
)
from detectron2.data.common import AspectRatioGroupedDataset
from detectron2.utils import comm
from torch.utils.data import DataLoader, Dataset

from crnas_d2.common.errors import invalid
from crnas_d2.data.datasets.registration import Entry
from crnas_d2.data.images.shared_images import Input

from .mappers import Mapper, generators_seeded

Batch = list[tuple[int, int]]  # (number, index) of each image of this rank


def begin_worker(number: int) -> None:
    """Prepare a process that reads images: it works until its training ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the training may need more images to stop well
    worker_init_reset_seed(number)


class ResumableLoader(Iterable[list[Input]]):
    """Endless batches of this rank's share of the images, each a function of seed and position.

    Images are numbered over all ranks and epochs. Order and augmentation of the n-th image depend
    only on the seed and n, not on the number of workers or on where the loader started. (The
    loaders of Detectron2 start over.)

    Attributes:
        position: number of batches taken so far.

    Args:
        images: entries of datasets in Detectron2's format.
        mapper: maps an entry to an input of the model.
        ims_per_batch: images per batch, over all ranks.
        seed: of the order and the augmentation; ``None`` for the global generators.

    Raises:
        ValueError: the ranks cannot share a batch evenly.
    """

    def __init__(
        self,
        images: Sequence[Entry],
        mapper: Mapper,
        *,
        ims_per_batch: int,
        seed: int | None,
        num_workers: int = 0,
    ):
        self.rank, self.world_size = comm.get_rank(), comm.get_world_size()
        if ims_per_batch % self.world_size:
            expected = f"a multiple of the {self.world_size} processes"
            raise invalid("SOLVER.IMS_PER_BATCH", ims_per_batch, expected)
        self.dataset = _SeededImages(images, mapper, seed)
        self.ims_per_batch = ims_per_batch
        self.num_workers = num_workers
        self.position = 0
        # torch samples a seed for the workers when an iteration starts; a generator of its own
        # leaves the one of the training unchanged.
        self._generator = torch.Generator()

    def __iter__(self) -> Iterator[list[Input]]:
        loader: Iterable[list[Input]] = DataLoader(
            self.dataset,
            batch_sampler=self._batches(self.position),
            num_workers=self.num_workers,
            collate_fn=trivial_batch_collator,
            worker_init_fn=begin_worker,
            generator=self._generator,
        )
        for batch in loader:
            self.position += 1  # batches that were taken; the workers are ahead of it
            yield batch

    def _batches(self, start: int) -> Iterator[Batch]:
        """Yield the batches of this rank, from the given one on: shuffled epoch after epoch."""
        # Rank r takes every world_size-th image. The order of an epoch is sampled from the seed and
        # the epoch.
        size, epoch = len(self.dataset), None
        order: list[int] = []
        number = start * self.ims_per_batch + self.rank
        while True:
            batch = []
            for _ in range(self.ims_per_batch // self.world_size):
                if number // size != epoch:
                    epoch = number // size
                    order = Random(f"{self.dataset.seed}/{epoch}").sample(range(size), size)
                batch.append((number, order[number % size]))
                number += self.world_size
            yield batch

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position, "ims_per_batch": self.ims_per_batch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set the position; call this before the first batch is taken.

        If ``ims_per_batch`` has changed, the position is rounded up, so no image up to the saved
        position is repeated.
        """
        self.position = -(-state["position"] * state["ims_per_batch"] // self.ims_per_batch)


class TrainingLoader(ResumableLoader):
    """The batches of Detectron2's loader: its samplers, and images grouped by aspect ratio.

    In the main process the augmentation draws from the generators of the training, which
    :class:`~crnas_d2.engine.ContinuedRandomness` saves. Those of workers cannot be saved, so there
    each image has a seed of its own.
    """

    def __init__(self, cfg: CfgNode, mapper: Mapper, dataset: list[Entry], *, is_grouped: bool):
        self._cfg = cfg
        super().__init__(
            # Serialized, so that workers share the memory of a large dataset instead of copying it.
            DatasetFromList(dataset, copy=False),
            mapper,
            ims_per_batch=cfg.SOLVER.IMS_PER_BATCH,
            seed=None,
            num_workers=cfg.DATALOADER.NUM_WORKERS,
        )
        # (width, height) in pixels
        self._sizes = [(i["width"], i["height"]) for i in dataset] if is_grouped else None
        self._draw_seeds()
        # As many numbers as Detectron2's loader takes from torch's generator, so that the same SEED
        # trains the same network with either.
        self._generator.manual_seed(int(torch.empty((), dtype=torch.int64).random_().item()))

    def _draw_seeds(self) -> None:
        # Samplers of Detectron2 draw their seeds from numpy's generator.
        _, key, position, *_ = np.random.get_state(legacy=True)
        self._numpy = {
            "key": torch.from_numpy(np.asarray(key).astype(np.int64)),
            "position": position,
        }
        images = self.dataset.images
        self._sampler = _train_loader_from_config(
            self._cfg,
            mapper=self.dataset.mapper,
            dataset=images,  # Detectron2 would build one
        )["sampler"]
        seed = comm.shared_random_seed()
        self.dataset.seed = seed if self.num_workers > 0 else None

    def _batches(self, start: int) -> Iterator[Batch]:
        # A sampler yields the images of this rank; all before the start are skipped.
        numbered = ((k * self.world_size + self.rank, i) for k, i in enumerate(self._sampler))
        size = self.ims_per_batch // self.world_size
        if self._sizes is None:
            yield from islice(iter(lambda: list(islice(numbered, size)), []), start, None)
            return
        with_sizes = (
            {"item": item, "width": self._sizes[item[1]][0], "height": self._sizes[item[1]][1]}
            for item in numbered
        )
        for batch in islice(AspectRatioGroupedDataset(with_sizes, size), start, None):
            yield [image["item"] for image in batch]

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "numpy": self._numpy}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        own = np.random.get_state()
        key = state["numpy"]["key"].numpy().astype(np.uint32)
        np.random.set_state(("MT19937", key, state["numpy"]["position"], 0, 0.0))
        self._draw_seeds()
        np.random.set_state(own)


class _SeededImages(Dataset[Input]):
    """Maps ``(number, index)`` to an image with an augmentation that is seeded by the number."""

    def __init__(self, images: Sequence[Entry], mapper: Mapper, seed: int | None):
        self.images, self.mapper, self.seed = images, mapper, seed

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, item: tuple[int, int]) -> Input:
        number, index = item
        if self.seed is None:
            return self.mapper(self.images[index])
        with generators_seeded(f"{self.seed}/image {number}"):
            return self.mapper(self.images[index])
