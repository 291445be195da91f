"""What scores the candidates of a search, and under which name."""

__all__ = ["ENTROPY", "fitness_name", "needs_supernet"]

ENTROPY = "entropy"


def needs_supernet(cfg) -> bool:
    """Whether candidates are scored with trained weights, on images."""
    return cfg.SEARCH.SCORE == "supernet"


def fitness_name(cfg) -> str:
    """Return the name of the fitness: ``SEARCH.METRIC``, or that of a score without images."""
    return cfg.SEARCH.METRIC if needs_supernet(cfg) else ENTROPY
