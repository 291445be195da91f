"""What an image costs by count, on the meta device: neither images nor a GPU are needed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Any

from detectron2.config import CfgNode
from torch import nn

from crnas_d2.common.errors import invalid
from crnas_d2.config.architectures import find_architecture
from crnas_d2.config.checks import find_spec
from crnas_d2.cost import MACs, detector_cost, meta_model, step_memory
from crnas_d2.data.images.random_images import random_images
from crnas_d2.engine import checkpoint_size, without_sync
from crnas_d2.modeling import find_supernet
from crnas_d2.search import Searcher
from crnas_d2.space import AdditiveCost, Genotype

from .estimate import Speed

_PROPOSALS, _MASKS = 2000, 100  # that the papers count, see crnas_d2.cost.detector_cost
_SAMPLED = 2_000  # genotypes, of which the feasible ones have the mean cost of a candidate
_OBJECTS = 7  # of an image, as in COCO on average
_MULTIPLE = 32  # to which detectors with FPN pad their images
_ASPECT = 4 / 3  # of most photographs


@dataclass(frozen=True)
class MacsPerImage:
    """Multiply-adds of a forward pass for one image, of a supernet those of the mean path."""

    counted: float  # as the papers and analyze count them
    training: float  # with as many regions as there are then
    inference: float  # the same


class CountedNetwork:
    """A network, or a supernet with its most expensive path, on the meta device.

    The mean cost is that of a searcher's candidates; default: that of uniformly sampled paths.

    Raises:
        ValueError: the network has parts that are not known.
    """

    def __init__(self, cfg: CfgNode, searcher: Searcher | None = None):
        self.cfg = without_sync(cfg)  # synchronized BN computes the same, but not on this device
        self.spec, self.searcher = find_spec(self.cfg), searcher
        self.model: nn.Module = meta_model(self.cfg)
        self.weights = sum(tensor.nbytes for tensor in self.model.state_dict().values())
        self.checkpoint = checkpoint_size(self.cfg, self.model)
        self._peaks: dict[int, int] = {}  # by images per process
        supernet = find_supernet(self.model)
        self._has_paths = supernet is not None and supernet.has_paths
        if supernet is not None and supernet.has_paths:
            table = self._table(usual_size(cfg, in_training=True))
            supernet.set_path(table.space.genotype(table.extreme(max)))

    @cached_property
    def macs(self) -> MacsPerImage:
        """Multiply-adds per image; those of the heads grow with the number of regions."""
        train, test = (usual_size(self.cfg, in_training=value) for value in (True, False))
        counts = {size: self._count(size) for size in {train, test}}

        def total(size: tuple[int, int], proposals: int, masks: int) -> float:
            regions = {"box head": proposals, "mask head": masks}
            return sum(macs * regions.get(part, 1) for part, macs in counts[size].items())

        return MacsPerImage(
            total(test, _PROPOSALS, _MASKS),
            total(train, *self._training_regions),
            total(test, *self._inference_regions),
        )

    def training_speed(self, images: int, num_processes: int = 1) -> Speed:
        """Return sizes of a training on ``images`` per process, without times."""
        if images not in self._peaks:
            size = widest_size(self.cfg, in_training=True)
            regions = self._training_regions
            self._peaks[images] = step_memory(self.model, size, images, *regions, trains=True)
        base, per_image = self.checkpoint, self._peaks[images] // images
        if num_processes > 1:  # DistributedDataParallel copies the gradients
            base += sum(p.nbytes for p in self.model.parameters())
        return Speed(None, None, base, per_image, self.checkpoint, self.weights)

    def search_speed(self) -> Speed:
        """Return sizes of a worker of a search, without times and the images that it keeps."""
        images, size = self.cfg.SEARCH.IMS_PER_BATCH, widest_size(self.cfg, in_training=False)
        regions = self._inference_regions
        peak = step_memory(self.model, size, images, *regions, trains=False)
        return Speed(None, None, self.weights, peak // images, self.checkpoint, self.weights)

    @property
    def _training_regions(self) -> tuple[int, int]:
        """Regions of an image on which boxes are trained, and masks at most."""
        heads = self.cfg.MODEL.ROI_HEADS
        number = heads.BATCH_SIZE_PER_IMAGE
        return number, int(number * heads.POSITIVE_FRACTION)

    @property
    def _inference_regions(self) -> tuple[int, int]:
        proposals, limit = self.cfg.MODEL.RPN.POST_NMS_TOPK_TEST, self.cfg.TEST.DETECTIONS_PER_IMAGE
        return proposals, min(limit, proposals) if limit > 0 else proposals  # -1: all

    def _count(self, size: tuple[int, int]) -> dict[str, float]:
        """Count the parts of a forward pass with one region; of a supernet, the mean path."""
        self.model.eval()
        parts = detector_cost(self.model, size, 1, 1).items()
        macs: dict[str, float] = {part: cost.macs for part, cost in parts}
        if self._has_paths:
            macs["body"] = self._mean(self._table(size))
        return macs

    def _table(self, size: tuple[int, int]) -> AdditiveCost:
        assert self.spec is not None  # of a supernet
        return MACs().table(self.spec, size)

    def _mean(self, table: AdditiveCost) -> float:
        """Return the mean cost of the candidates of a search, or of all paths alike."""
        searcher, random = self.searcher, Random(0)
        found: Sequence[Genotype] = ()
        if searcher is not None and searcher.genotypes is not None:
            found = searcher.genotypes
        elif searcher is not None and searcher.budgets:
            sampled = (searcher.space.sample(random) for _ in range(_SAMPLED))
            found = [genotype for genotype in sampled if searcher.is_feasible(genotype)]
        return sum(map(table, found)) / len(found) if found else table.mean


def usual_size(cfg: CfgNode, *, in_training: bool) -> tuple[int, int]:
    """Return (height, width) of most images as a network sees them, in pixels.

    That of a photograph of 4:3 which is resized as the config says, padded to multiples of 32:
    800x1088 for a shorter side of 800. Raises ValueError if the config does not resize images.
    """
    shorter, longer, crop = _sides(cfg, in_training)
    if crop:
        return crop, crop
    return _padded(min(shorter, longer / _ASPECT)), _padded(min(shorter * _ASPECT, longer))


def widest_size(cfg: CfgNode, *, in_training: bool) -> tuple[int, int]:
    """Return (height, width) of the largest image, padded: what the memory has to hold."""
    shorter, longer, crop = _sides(cfg, in_training)
    return (crop, crop) if crop else (_padded(shorter), _padded(longer))


def random_batch(cfg: CfgNode, images: int) -> list[dict[str, Any]]:
    """Return a batch of training images of the usual size, with random boxes, masks or a label."""
    return random_images(cfg, images, usual_size(cfg, in_training=True), _OBJECTS)


def _sides(cfg: CfgNode, in_training: bool) -> tuple[int, int, int]:
    """Return the shorter and the longer side of an image, and the crop of a classifier or 0."""
    if find_architecture(cfg).classifies:
        return 0, 0, cfg.INPUT.CLASSIFICATION.CROP_SIZE
    part = "TRAIN" if in_training else "TEST"
    if part == "TEST" and not cfg.INPUT.MIN_SIZE_TEST:
        but, fix = "images then keep their size, which is not known here", "Name a size for a plan"
        raise invalid("INPUT.MIN_SIZE_TEST", 0, "at least 1", but=but, fix=fix)
    shorter = cfg.INPUT[f"MIN_SIZE_{part}"]
    shorter = max(shorter) if isinstance(shorter, Sequence) else shorter
    return shorter, cfg.INPUT[f"MAX_SIZE_{part}"] or 2 * shorter, 0


def _padded(side: float) -> int:
    return math.ceil(side / _MULTIPLE) * _MULTIPLE
