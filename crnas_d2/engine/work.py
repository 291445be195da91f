"""The work of a training or of a search: steps, and images that go through the network."""

import math
from dataclasses import dataclass

from crnas_d2.config import NetworkSpec
from crnas_d2.config.fitness import needs_supernet
from crnas_d2.cost import build_budgets, build_costs
from crnas_d2.engine import first_alpha_step
from crnas_d2.search import Searcher, build_searcher


@dataclass(frozen=True)
class Work:
    """What one run of a config does.

    Attributes:
        text: e.g. ``1,200 iterations of 8 images``.
        steps: of an optimizer.
        trained: images that pass forward and backward.
        scored: images that pass forward alone.
        candidates: of a search.
    """

    text: str
    steps: int = 0
    trained: int = 0
    scored: int = 0
    candidates: int = 0

    def __str__(self) -> str:
        return self.text

    @property
    def passes(self) -> int:
        """Images that pass forward, of either kind."""
        return self.trained + self.scored


def training_work(cfg, tested: int = 0) -> Work:
    """Return the work of a training.

    A search of channels takes, in an iteration that also trains alpha, a second step on as many
    images. Supernets of other spaces are not evaluated.

    Args:
        tested: number of images of ``DATASETS.TEST``.
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


def search_work(cfg, archval: int) -> Work:
    """Return the work of the search of a supernet.

    Each candidate passes archval and, before it, the images on which its BN is calibrated. The BN
    of a prefix is that of each mini-batch, or calibrated for each one.

    Args:
        archval: number of images in it.

    Raises:
        ValueError: settings that cannot be searched with, or the algorithm does not know how many
            candidates it evaluates.
    """
    searcher = searcher_of(cfg)
    if searcher.total is None:
        raise ValueError(
            f"SEARCH.ALGORITHM is '{cfg.SEARCH.ALGORITHM}', which does not know in advance how "
            "many candidates it evaluates; a plan needs that."
        )
    text = f"{searcher.total:,} candidates"
    images = 0
    if needs_supernet(cfg):
        calibration = cfg.SEARCH.BN_CALIBRATION
        batches = math.ceil(archval / cfg.SEARCH.IMS_PER_BATCH)
        by_batch = calibration.PARTIAL == "batch"
        of_prefix = 0 if by_batch else batches * calibration.NUM_IMAGES
        whole = searcher.total - searcher.num_prefixes
        images = searcher.total * archval
        images += whole * calibration.NUM_IMAGES + searcher.num_prefixes * of_prefix
        most = "at most " if cfg.SEARCH.RACING.ENABLED else ""  # and so are the passes
        text += f" on {most}{archval:,} images"
    finalists, steps = cfg.SEARCH.FINALISTS, 0
    if finalists.NUMBER:
        number = min(finalists.NUMBER, searcher.total)
        steps = number * finalists.MAX_ITER
        images += number * archval
        text += f", {number} finalists of {finalists.MAX_ITER:,} iterations"
    trained = steps * cfg.SOLVER.IMS_PER_BATCH
    return Work(text, steps, trained, images, searcher.total)


def searcher_of(cfg) -> Searcher:
    """Build the searcher of a config, with the costs alone that limit its candidates.

    Raises:
        ValueError: settings that cannot be searched with.
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.SEARCH.COSTS = []
    spec = NetworkSpec.from_config(cfg)
    return build_searcher(cfg, spec.space, build_budgets(cfg, build_costs(cfg, spec)))
