"""What a training or a search will take: time, memory and disk, from steps timed here."""

import math
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from random import Random

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog, get_detection_dataset_dicts
from detectron2.utils.events import EventStorage
from torch import nn

from crnas_d2.data import register_datasets
from crnas_d2.data.loaders import build_train_mapper
from crnas_d2.engine import Trainer, checkpoint_size
from crnas_d2.modeling import SinglePathSupernet, find_supernet

from .made_images import made_batch
from .work import Work, search_work, training_work

_STEPS = 3
_SLOW = 1.0  # seconds of a step with one image; if it takes longer, no larger batch is timed
_ENOUGH = 8.0  # seconds, after which no further step is timed
_STUDY = 4096  # bytes on the disk of a candidate in a study, without what it scored on each image


@dataclass(frozen=True)
class Speed:
    """Measured on this machine; without measurement, only the sizes are known.

    Attributes:
        train, infer: seconds per image of a training step, and of inference; ``None``: unknown.
        base, per_image: memory in bytes of a process, and of each image of a batch; ``None``:
            unknown.
        checkpoint, weights: sizes of their files in bytes.
    """

    train: float | None
    infer: float | None
    base: int | None
    per_image: int | None
    checkpoint: int
    weights: int


@dataclass(frozen=True)
class Estimate:
    """What one step takes.

    Attributes:
        seconds: on one device; ``None`` if unknown.
        memory: of one process, in bytes; ``None`` if unknown.
        disk: in bytes.
    """

    work: Work
    seconds: float | None
    memory: float | None
    disk: float


def measure_speed(cfg: CfgNode, *, timed: bool = True, makes_images: bool = False) -> Speed:
    """Build the model of a config and time steps on the first images of ``DATASETS.TRAIN``.

    Args:
        timed: ``False`` where the device of the config is not at hand.
        makes_images: time steps on generated images, because the dataset may not be at hand.
    """
    on_gpu = cfg.MODEL.DEVICE.startswith("cuda")
    before = _peak_memory(on_gpu)
    cfg = cfg.clone()
    cfg.defrost()
    if not timed:
        cfg.MODEL.DEVICE = "cpu"
    model = Trainer.build_model(cfg)
    supernet = find_supernet(model)
    if isinstance(supernet, SinglePathSupernet):
        supernet.set_path(supernet.space.sample(Random(0)))
    train = infer = None
    images = 1
    if timed:
        optimizer = Trainer.build_optimizer(cfg, model)
        with _datasets_of(cfg), EventStorage():  # in which the model notes its losses
            batches_of = _made_batches if makes_images else _batches
            batches = batches_of(cfg, 1)
            train = _seconds(lambda: _train_step(model, optimizer, next(batches)), on_gpu)
            if train < _SLOW and cfg.SOLVER.IMS_PER_BATCH > 1:
                images = cfg.SOLVER.IMS_PER_BATCH
                batches = batches_of(cfg, images)
                train = _seconds(lambda: _train_step(model, optimizer, next(batches)), on_gpu)
            model.eval()
            with torch.no_grad():
                infer = _seconds(lambda: model(next(batches)), on_gpu) / images
        train /= images
    weights = sum(tensor.nbytes for tensor in model.state_dict().values())
    return Speed(
        *(train, infer),
        base=before if timed else None,
        per_image=max(0, _peak_memory(on_gpu) - before) // images if timed else None,
        checkpoint=checkpoint_size(cfg, model),
        weights=weights,
    )


def estimate_training(
    cfg: CfgNode, speed: Speed, *, tested: int = 0, num_processes: int = 1
) -> Estimate:
    """Return what a training takes; one that also trains alpha takes two passes per iteration.

    Args:
        tested: number of images of ``DATASETS.TEST``.
        num_processes: that share a batch.
    """
    solver = cfg.SOLVER
    kept = min(
        solver.CHECKPOINT_MAX_TO_KEEP or math.inf, solver.MAX_ITER // solver.CHECKPOINT_PERIOD
    )
    parts = num_processes * solver.GRADIENT_ACCUMULATION  # of a batch, one after another or not
    work = training_work(cfg, tested)
    return Estimate(
        work,
        _seconds_of(work, speed),
        _memory_of(speed, math.ceil(solver.IMS_PER_BATCH / parts)),
        (kept + 2) * speed.checkpoint,  # the final one, and one that is being written
    )


def estimate_search(cfg: CfgNode, speed: Speed, archval: int) -> Estimate:
    """Return what the search of a config takes.

    Args:
        archval: number of images in it.
    """
    work = search_work(cfg, archval)
    # Each finalist keeps what a training keeps, which is more than a study and its image results.
    finalists = cfg.SEARCH.FINALISTS.NUMBER * 3 * speed.checkpoint
    disk = speed.weights + work.candidates * _STUDY + finalists
    return Estimate(
        work, _seconds_of(work, speed), _memory_of(speed, cfg.SEARCH.IMS_PER_BATCH), disk
    )


def _seconds_of(work: Work, speed: Speed) -> float | None:
    if speed.train is None:
        return None
    return work.trained * speed.train + work.scored * speed.infer


def _memory_of(speed: Speed, images: int) -> int | None:
    return None if speed.base is None else speed.base + images * speed.per_image


def _made_batches(cfg: CfgNode, size: int) -> Iterator[list[dict]]:
    while True:
        yield made_batch(cfg, size)


def _batches(cfg: CfgNode, size: int) -> Iterator[list[dict]]:
    """Yield batches of the first images, decoded as in training."""
    images = get_detection_dataset_dicts(
        list(cfg.DATASETS.TRAIN), filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
    )
    mapper = build_train_mapper(cfg, cfg.DATASETS.TRAIN)
    for start in count(0, size):
        yield [mapper(images[(start + n) % len(images)]) for n in range(size)]


@contextmanager
def _datasets_of(cfg: CfgNode) -> Iterator[None]:
    """Register the datasets of a config, and forget them again."""
    before = set(DatasetCatalog.list())
    register_datasets(cfg)
    try:
        yield
    finally:
        for name in set(DatasetCatalog.list()) - before:
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)


def _train_step(model: nn.Module, optimizer: torch.optim.Optimizer, batch: list[dict]) -> None:
    model.train()
    optimizer.zero_grad(set_to_none=True)
    sum(model(batch).values()).backward()
    # No step of the optimizer: it costs little, and its learning rate has not been warmed up.


def _seconds(step: Callable[[], object], on_gpu: bool) -> float:
    """Time a step several times; the first call, which allocates memory, counts only if alone."""
    times = []
    for _ in range(1 + _STEPS):
        start = time.perf_counter()
        step()
        if on_gpu:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
        if sum(times) > _ENOUGH:
            break
    return min(times)


def _peak_memory(on_gpu: bool) -> int:
    """Return the most memory that was used so far, of this process or of the GPU, in bytes."""
    if on_gpu and torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
