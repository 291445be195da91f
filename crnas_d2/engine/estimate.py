"""What a training or a search will take: steps, images, time, memory and disk."""

import math
from dataclasses import dataclass

from detectron2.config import CfgNode

from crnas_d2.common.errors import invalid
from crnas_d2.config import NetworkSpec
from crnas_d2.config.image_size import search_space
from crnas_d2.cost import build_budgets, build_costs
from crnas_d2.engine import first_alpha_step
from crnas_d2.engine.scores import SCORE_REGISTRY
from crnas_d2.search import Searcher, build_searcher

_STUDY = 4096  # bytes on the disk of a candidate in a study, without what it scored on each image


@dataclass(frozen=True)
class Work:
    """What one run of a config does."""

    text: str  # e.g. 1,200 iterations of 8 images
    steps: int = 0  # of an optimizer
    trained: int = 0  # images that pass forward and backward
    scored: int = 0  # images that pass forward alone
    candidates: int = 0  # of a search

    def __str__(self) -> str:
        return self.text

    @property
    def passes(self) -> int:
        """Images that pass forward, of either kind."""
        return self.trained + self.scored


@dataclass(frozen=True)
class Speed:
    """What an image costs; ``None`` where it was neither measured nor counted."""

    train: float | None  # seconds per image of a training step
    infer: float | None  # seconds per image of inference
    base: int | None  # bytes of memory of a process
    per_image: int | None  # bytes of memory of each image of a batch
    checkpoint: int  # bytes of a file
    weights: int  # bytes of a file without the state of the optimizer

    def estimate(self, work: Work, images: int, disk: float) -> "Estimate":
        """Return the estimate of work that holds ``images`` at a time in the memory."""
        seconds = memory = None
        if self.train is not None and self.infer is not None:
            seconds = work.trained * self.train + work.scored * self.infer
        if self.base is not None and self.per_image is not None:
            memory = self.base + images * self.per_image
        return Estimate(work, seconds, memory, disk)


@dataclass(frozen=True)
class Estimate:
    """What one training or search takes; ``None`` where that is unknown."""

    work: Work
    seconds: float | None  # on one device
    memory: float | None  # bytes of one process
    disk: float  # bytes


def training_work(cfg: CfgNode, tested: int = 0) -> Work:
    """Return the work of a training, of which ``DATASETS.TEST`` has ``tested`` images.

    A channel search takes, in an iteration that also trains alpha, a second step on as many
    images. Supernets of other spaces are not evaluated.
    """
    solver = cfg.SOLVER
    text = f"{solver.MAX_ITER:,} iterations of {solver.IMS_PER_BATCH} images"
    steps, evaluations = solver.MAX_ITER, 1
    if cfg.TEST.EVAL_PERIOD > 0:
        evaluations += (solver.MAX_ITER - 1) // cfg.TEST.EVAL_PERIOD
    spec = NetworkSpec.from_config(cfg) if cfg.MODEL.SUPERNET.SPACE != "none" else None
    if spec is not None and spec.is_searched_in_training:
        of_alpha = solver.MAX_ITER - first_alpha_step(cfg)
        steps += of_alpha
        text += f", {of_alpha:,} of them with one more for alpha"
    elif spec is not None and spec.has_paths:
        evaluations = 0
    return Work(text, steps, steps * solver.IMS_PER_BATCH, evaluations * tested)


def search_work(cfg: CfgNode, archval: int) -> Work:
    """Return the work of the search of a supernet on ``archval`` images.

    Each candidate passes archval and, before it, the images on which its BN is calibrated. The BN
    of a prefix is that of each mini-batch, or calibrated for each one.

    Raises:
        ValueError: settings that cannot be searched with, or the algorithm does not know how many
            candidates it evaluates.
    """
    searcher = budgeted_searcher(cfg)
    if searcher.total is None:
        expected = "one that knows in advance how many candidates it evaluates"
        fix = "An estimate needs that"
        raise invalid("SEARCH.ALGORITHM", cfg.SEARCH.ALGORITHM, expected, fix=fix)
    text, images = f"{searcher.total:,} candidates", 0
    if SCORE_REGISTRY.get(cfg.SEARCH.SCORE).uses_supernet:
        calibration = cfg.SEARCH.BN_CALIBRATION
        batches = math.ceil(archval / cfg.SEARCH.IMS_PER_BATCH)
        by_batch = calibration.PARTIAL == "batch"
        of_prefix = 0 if by_batch else batches * calibration.NUM_IMAGES
        whole = searcher.total - searcher.num_prefixes
        images = searcher.total * archval + whole * calibration.NUM_IMAGES
        images += searcher.num_prefixes * of_prefix
        most = "at most " if cfg.SEARCH.RACING.ENABLED else ""  # and so are the passes
        text += f" on {most}{archval:,} images"
    finalists, steps = cfg.SEARCH.FINALISTS, 0
    if finalists.NUMBER:
        number = min(finalists.NUMBER, searcher.total)
        steps = number * finalists.MAX_ITER
        images += number * archval
        text += f", {number} finalists of {finalists.MAX_ITER:,} iterations"
    return Work(text, steps, steps * cfg.SOLVER.IMS_PER_BATCH, images, searcher.total)


def budgeted_searcher(cfg: CfgNode) -> Searcher:
    """Build the searcher of a config, with the costs alone that limit its candidates.

    Raises:
        ValueError: settings that cannot be searched with.
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.SEARCH.COSTS = []
    spec = NetworkSpec.from_config(cfg)
    return build_searcher(cfg, search_space(cfg, spec), build_budgets(cfg, build_costs(cfg, spec)))


def estimate_training(
    cfg: CfgNode, speed: Speed, *, tested: int = 0, num_processes: int = 1
) -> Estimate:
    """Return what a training takes whose batches are shared by a number of processes.

    ``DATASETS.TEST`` has ``tested`` images.
    """
    solver = cfg.SOLVER
    written = solver.MAX_ITER // solver.CHECKPOINT_PERIOD
    kept = min(solver.CHECKPOINT_MAX_TO_KEEP or math.inf, written)
    disk = (kept + 2) * speed.checkpoint  # the final one, and one that is being written
    parts = num_processes * solver.GRADIENT_ACCUMULATION  # of a batch, one after another or not
    images = math.ceil(solver.IMS_PER_BATCH / parts)
    return speed.estimate(training_work(cfg, tested), images, disk)


def estimate_search(cfg: CfgNode, speed: Speed, archval: int) -> Estimate:
    """Return what the search of a config takes on ``archval`` images."""
    work = search_work(cfg, archval)
    # Each finalist keeps what a training keeps, which is more than a study and its image results.
    finalists = cfg.SEARCH.FINALISTS.NUMBER * 3 * speed.checkpoint
    disk = speed.weights + work.candidates * _STUDY + finalists
    calibration = cfg.SEARCH.BN_CALIBRATION
    images = min(calibration.IMS_PER_BATCH, calibration.NUM_IMAGES)
    return speed.estimate(work, max(cfg.SEARCH.IMS_PER_BATCH, images), disk)
