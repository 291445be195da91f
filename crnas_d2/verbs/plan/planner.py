"""The plan of a config: image passes, steps, hours, memory and disk, before it runs."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from detectron2.config import CfgNode

from crnas_d2.config import NetworkSpec, load_config
from crnas_d2.config.config_file import inherited_files, read_config_file
from crnas_d2.data import DatasetSizes
from crnas_d2.engine import Trainer
from crnas_d2.engine.counted_speed import CountedNetwork, MacsPerImage, usual_size
from crnas_d2.engine.estimate import (
    Estimate,
    Speed,
    budgeted_searcher,
    estimate_search,
    estimate_training,
)
from crnas_d2.engine.measured_speed import measure_speed
from crnas_d2.engine.scores import SCORE_REGISTRY
from crnas_d2.search import Searcher

# From a config and its MACs to the seconds per image of a training step, and of inference.
Pace = Callable[[CfgNode, MacsPerImage], tuple[float | None, float | None]]

_BACKWARD = 2  # forward passes that a backward pass costs


def macs_pace(macs_per_second: float) -> Pace:
    """Return the pace of a device that computes so many multiply-adds per second."""
    return lambda _, macs: (
        (1 + _BACKWARD) * macs.training / macs_per_second,
        macs.inference / macs_per_second,
    )


def given_pace(training: float, inference: float | None = None) -> Pace:
    """Return a pace in seconds per image; inference is a third of training unless it is given."""
    return lambda *_: (training, training / (1 + _BACKWARD) if inference is None else inference)


def measured_pace(cfg: CfgNode, _: MacsPerImage) -> tuple[float | None, float | None]:
    """Time steps of a config on this machine, on random images of its sizes."""
    speed = measure_speed(cfg, random_images=True)
    return speed.train, speed.infer


@dataclass(frozen=True)
class Plan:
    """What one run of a config takes."""

    file: str  # the config
    verb: str  # train or search
    estimate: Estimate  # its seconds are those of all devices together
    macs: MacsPerImage
    num_processes: int  # GPUs of a training, workers of a search
    # What else to know, e.g. a genotype.yaml that no search has written yet, without which the
    # plan is that of the base network.
    notes: tuple[str, ...] = ()

    @property
    def gpu_hours(self) -> float:
        """Hours of one device, which several share."""
        assert self.estimate.seconds is not None  # every pace has both
        return self.estimate.seconds / 3600

    @property
    def hours(self) -> float:
        return self.gpu_hours / self.num_processes

    def numbers(self) -> dict[str, object]:
        """Return all that is known, as plain numbers; sizes in bytes."""
        work = self.estimate.work
        return {
            "config": self.file,
            "verb": self.verb,
            "macs": self.macs.counted,
            "steps": work.steps,
            "images_trained": work.trained,
            "images_scored": work.scored,
            "candidates": work.candidates,
            "gpu_hours": self.gpu_hours,
            "hours": self.hours,
            "gpus": self.num_processes,
            "memory": self.estimate.memory,
            "disk": self.estimate.disk,
            "notes": list(self.notes),
        }


@dataclass
class Planner:
    """Plans configs; nothing is trained, and neither data nor weights are needed."""

    pace: Pace
    sizes: DatasetSizes
    # GPUs of a training, workers of a search; 0: SOLVER.REFERENCE_WORLD_SIZE of the config, or 1.
    num_processes: int = 0
    _networks: dict[str, CountedNetwork] = field(default_factory=dict)

    def plan(self, file: str, overrides: Sequence[str], *, searches: bool = False) -> Plan:
        """Plan one config, or raise ValueError with the key and the fix.

        Args:
            searches: that it is searched, also if :func:`is_search` cannot tell.
        """
        skipped: list[str] = []
        cfg = load_config(file, overrides, skipped=skipped)
        notes = [f"{name} is not there yet: planned with the base network" for name in skipped]
        number = self.num_processes or cfg.SOLVER.REFERENCE_WORLD_SIZE or 1
        if searches and not _has_paths(cfg):
            raise ValueError(f"{file} has no supernet to search: plan it as a training.")
        if searches or is_search(file, cfg):
            network = self._network(cfg, budgeted_searcher(cfg))
            uses_images = SCORE_REGISTRY.get(cfg.SEARCH.SCORE).uses_supernet
            archval = self.sizes.count(cfg, "ARCHVAL") if uses_images else 0
            if sizes := list(cfg.SEARCH.IMAGE_SIZES):
                size = f"INPUT.MIN_SIZE_TEST {cfg.INPUT.MIN_SIZE_TEST}"
                notes.append(f"planned with {size} for all SEARCH.IMAGE_SIZES {sizes}")
            notes += _kept_images(cfg, archval)
            speed = self._timed(network.search_speed(), cfg, network)
            estimate = estimate_search(cfg, speed, archval)
            return Plan(file, "search", estimate, network.macs, number, tuple(notes))
        cfg = Trainer.auto_scale_workers(cfg, number)
        network = self._network(cfg)
        images = math.ceil(cfg.SOLVER.IMS_PER_BATCH / (number * cfg.SOLVER.GRADIENT_ACCUMULATION))
        speed = self._timed(network.training_speed(images, number), cfg, network)
        tested = self.sizes.count(cfg, "TEST")
        estimate = estimate_training(cfg, speed, tested=tested, num_processes=number)
        return Plan(file, "train", estimate, network.macs, number, tuple(notes))

    def _network(self, cfg: CfgNode, searcher: Searcher | None = None) -> CountedNetwork:
        """Count a network once for all configs that differ in their weights or schedules alone."""
        model = cfg.MODEL.clone()
        model.WEIGHTS = ""
        nodes = [model, cfg.INPUT, cfg.TEST] + ([cfg.SEARCH] if searcher else [])
        key = "".join(map(str, nodes))
        if key not in self._networks:
            self._networks[key] = CountedNetwork(cfg, searcher)
        return self._networks[key]

    def _timed(self, speed: Speed, cfg: CfgNode, network: CountedNetwork) -> Speed:
        train, infer = self.pace(cfg, network.macs)
        return replace(speed, train=train, infer=infer)


def is_search(file: str, cfg: CfgNode) -> bool:
    """Whether a config is for a search: its weights are those that an inherited config trains.

    The searches of ``projects`` and of ``crnas-d2 prepare`` are like that. A config without
    weights may be for both, and counts as a training.
    """
    if not _has_paths(cfg):
        return False
    if not SCORE_REGISTRY.get(cfg.SEARCH.SCORE).uses_supernet:
        return True
    trained = [f"{folder}/model_final.pth" for folder in _folders(file) if folder]
    return cfg.MODEL.WEIGHTS in trained


def _has_paths(cfg: CfgNode) -> bool:
    """Whether a config builds a supernet whose networks a search can score."""
    return cfg.MODEL.SUPERNET.SPACE != "none" and NetworkSpec.from_config(cfg).has_paths


def _folders(file: str) -> list[str]:
    """Return ``OUTPUT_DIR`` of all configs that one inherits from."""
    found = []
    for base in inherited_files(file):
        found += [read_config_file(base, skipped=[]).get("OUTPUT_DIR", ""), *_folders(base)]
    return found


def _kept_images(cfg: CfgNode, archval: int) -> list[str]:
    """Say whether the decoded images of archval are kept, one byte for each value."""
    if not archval:
        return []
    height, width = usual_size(cfg, in_training=False)
    decoded = archval * len(cfg.MODEL.PIXEL_MEAN) * height * width / 2**30
    if sizes := cfg.SEARCH.IMAGE_SIZES:
        decoded *= sum((size / cfg.INPUT.MIN_SIZE_TEST) ** 2 for size in sizes)
    limit = cfg.SEARCH.IMAGE_CACHE
    fits = "is kept once per machine" if decoded <= limit else "is decoded again by each candidate"
    return [f"archval, about {decoded:.1f} GiB decoded, {fits} (SEARCH.IMAGE_CACHE {limit:g})"]
