"""What a search runs, in one block of lines at its start."""

from detectron2.config import CfgNode

from crnas_d2.config.fitness import needs_supernet
from crnas_d2.data import fixed_images
from crnas_d2.engine.log import describe_seed
from crnas_d2.search import Searcher

from .racing import summarize


def search_summary(cfg: CfgNode, searcher: Searcher, num_workers: int) -> list[str]:
    """Return lines about a search, without those about its limits."""
    total = "as many as are asked for" if searcher.total is None else f"{searcher.total:,}"
    lines = [
        f"processes: {num_workers} on {cfg.MODEL.DEVICE}",
        f"candidates: {total}, {cfg.SEARCH.ALGORITHM}",
        f"seed: {describe_seed(cfg)}",
    ]
    if not needs_supernet(cfg):
        return [*lines, f"fitness: {cfg.SEARCH.METRIC}, without weights and images"]
    archval = fixed_images(cfg, cfg.DATASETS.ARCHVAL)
    calibration = cfg.SEARCH.BN_CALIBRATION.NUM_IMAGES
    racing = [summarize(cfg, searcher)] if cfg.SEARCH.RACING.ENABLED else []
    return [
        *lines,
        f"fitness: {cfg.SEARCH.METRIC} on {len(archval):,} images of {cfg.DATASETS.ARCHVAL[0]}",
        *racing,
        f"BN calibration: {f'{calibration} images' if calibration else 'none'}",
        f"weights: {cfg.MODEL.WEIGHTS}",
    ]
