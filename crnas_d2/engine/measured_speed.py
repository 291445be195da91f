"""What an image costs on this machine, from a few steps that are timed."""

import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count, repeat
from random import Random
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog, get_detection_dataset_dicts
from detectron2.utils.events import EventStorage

from crnas_d2.data import register_datasets
from crnas_d2.data.loaders.mappers import build_train_mapper
from crnas_d2.engine import Trainer, checkpoint_size
from crnas_d2.modeling import find_supernet

from .counted_speed import random_batch
from .estimate import Speed

_STEPS = 3
_SLOW = 1.0  # seconds of a step with one image; if it takes longer, no larger batch is timed
_ENOUGH = 8.0  # seconds, after which no further step is timed


def measure_speed(cfg: CfgNode, *, timed: bool = True, random_images: bool = False) -> Speed:
    """Build the model of a config and time steps on the first images of ``DATASETS.TRAIN``.

    Only sizes are known without ``timed``, where the device of the config is not at hand; steps are
    timed on ``random_images`` where the dataset may not be.
    """
    on_gpu = cfg.MODEL.DEVICE.startswith("cuda")
    before = _peak_memory(on_gpu)
    cfg = cfg.clone()
    cfg.defrost()
    if not timed:
        cfg.MODEL.DEVICE = "cpu"
    model = Trainer.build_model(cfg)
    supernet = find_supernet(model)
    if supernet is not None and supernet.has_paths:
        supernet.set_path(supernet.space.sample(Random(0)))
    weights = sum(tensor.nbytes for tensor in model.state_dict().values())
    checkpoint = checkpoint_size(cfg, model)
    if not timed:
        return Speed(None, None, None, None, checkpoint, weights)
    optimizer = Trainer.build_optimizer(cfg, model)

    def train_step() -> None:
        model.train()
        optimizer.zero_grad(set_to_none=True)
        sum(model(next(batches)).values()).backward()
        # No step of the optimizer: it costs little, and its learning rate is not warmed up yet.

    with _datasets_of(cfg), EventStorage():  # in which the model notes its losses
        for images in (1, cfg.SOLVER.IMS_PER_BATCH):
            batches: Iterator[list[dict[str, Any]]] = repeat(random_batch(cfg, images))
            kept = 0
            if not random_images:
                batches, kept = _batches(cfg, images)
            train = _seconds(train_step, on_gpu)
            if train >= _SLOW or images == cfg.SOLVER.IMS_PER_BATCH:
                break
        model.eval()
        with torch.no_grad():
            infer = _seconds(lambda: model(next(batches)), on_gpu)
    per_image = max(0, _peak_memory(on_gpu) - before) // images
    base = before + kept
    return Speed(train / images, infer / images, base, per_image, checkpoint, weights)


def _batches(cfg: CfgNode, size: int) -> tuple[Iterator[list[dict[str, Any]]], int]:
    """Return endless batches as in training, and the bytes that the decoded images will take."""
    images = get_detection_dataset_dicts(
        list(cfg.DATASETS.TRAIN), filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
    )
    mapper = build_train_mapper(cfg, cfg.DATASETS.TRAIN, images)
    cache = getattr(mapper, "cache", None)
    if cache is not None and cache.is_complete:  # nearly all steps of a training decode nothing
        images = images[:size]
    batches = ([mapper(images[(s + n) % len(images)]) for n in range(size)] for s in count(0, size))
    return batches, 0 if cache is None else cache.nbytes


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
