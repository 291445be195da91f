"""The fitness of one genotype: a subnet of a trained supernet, scored on archval."""

import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager

from detectron2.evaluation import DatasetEvaluator, inference_on_dataset
from torch import nn

from crnas_d2.modeling import find_supernet
from crnas_d2.space import Genotype

__all__ = ["SubnetEvaluator"]


class SubnetEvaluator:
    """Scores one subnet after another. Built once per worker; what it holds stays in memory.

    Args:
        model: a detector on a supernet, with trained weights.
        batches: the images of archval.
        evaluator: what turns predictions into metrics.
        calibrate: a context in which the BN statistics fit the active path.
    """

    def __init__(
        self,
        model: nn.Module,
        batches: Collection[list[dict]],
        evaluator: DatasetEvaluator,
        calibrate: Callable[[nn.Module], AbstractContextManager],
    ):
        self.model = model
        self.supernet = find_supernet(model)
        self.batches = batches
        self.evaluator = evaluator
        self.calibrate = calibrate
        assert self.supernet is not None, "the model has no supernet backbone"

    def __call__(self, genotype: Genotype) -> dict[str, float]:
        """The metrics of one subnet in full precision, e.g. ``{"bbox/AP": 31.4, ...}``."""
        self.supernet.set_path(genotype)
        with self.calibrate(self.model), _quiet("detectron2.evaluation"):
            results = inference_on_dataset(self.model, self.batches, self.evaluator)
        return {
            f"{task}/{name}": float(value)
            for task, metrics in results.items()
            for name, value in metrics.items()
        }


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Detectron2 logs every evaluation in full, which is too much for hundreds of them."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
