"""What scores the candidates of a search, and under which name."""

from yacs.config import CfgNode

ENTROPY = "entropy"


def needs_supernet(cfg: CfgNode) -> bool:
    """Whether candidates are scored with trained weights, on images."""
    return bool(cfg.SEARCH.SCORE == "supernet")


def fitness_name(cfg: CfgNode) -> str:
    """Return the name of the fitness: ``SEARCH.METRIC``, or that of a score without images."""
    return str(cfg.SEARCH.METRIC) if needs_supernet(cfg) else ENTROPY
