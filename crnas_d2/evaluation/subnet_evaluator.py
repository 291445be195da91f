"""The fitness of one genotype: a subnet of a trained supernet, scored on archval."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Any

import torch
from detectron2.evaluation import DatasetEvaluator, inference_on_dataset
from detectron2.evaluation.testing import flatten_results_dict
from torch import nn

from crnas_d2.common.third_party import quiet
from crnas_d2.modeling import find_supernet
from crnas_d2.search import Stopped
from crnas_d2.space import Genotype, SearchSpace

from .bn_calibration import Batches
from .bootstrap import ImageResults
from .inference import batched_inference
from .precision import Precision
from .racing import Race

Images = list[dict[str, Any]]  # Detectron2's inputs, or its outputs for them
Calibration = Callable[[nn.Module], AbstractContextManager[None]]


@dataclass(eq=False)
class SubnetEvaluator:
    """Score one subnet after another. Each worker builds one and keeps it in memory.

    The rest of a prefix, i.e. of a genotype that decides on the first choices only, is sampled for
    each mini-batch of archval, and the predictions of all these networks give one score (CR-NAS
    section 3.3.2). All prefixes of the same length get the same samples, so their scores do not
    differ because of the samples.
    """

    model: nn.Module  # a detector on a supernet, with trained weights
    batches: Batches  # the images of archval; in a race, in a random order
    evaluator: DatasetEvaluator  # turns predictions into metrics
    calibrate: Calibration  # a context in which the BN statistics fit the active path
    calibrate_partial: Calibration | None = None  # the same for the network of one mini-batch
    seed: int = 0  # of the sampled completions
    precision: Precision = nullcontext  # of the predictions, not of the calibration
    batched_heads: bool = True  # where they do what the model's own do

    def __post_init__(self) -> None:
        supernet = find_supernet(self.model)
        assert supernet is not None and supernet.has_paths, "the model has no supernet backbone"
        assert isinstance(supernet.space, SearchSpace)
        self.supernet, self.space = supernet, supernet.space
        self.predict = batched_inference(self.model) if self.batched_heads else self.model

    def __call__(self, genotype: Genotype, race: Race | None = None) -> dict[str, float] | Stopped:
        """Return the metrics of a subnet or a prefix, unrounded: ``{"bbox/AP": 31.4, ...}``.

        A race may stop the evaluation of a subnet; it goes on without seeing an image twice.
        """
        is_complete = self.space.is_complete(genotype)
        numbers = count()  # of batches that the evaluator has processed

        # inference_on_dataset() gets a function, because it would put a module into evaluation
        # mode, including the BN layers that a context has put into training mode.
        def predict(batch: Images) -> Images:
            number = next(numbers)
            context: AbstractContextManager[None] = nullcontext()
            if not is_complete:
                self.supernet.set_path(self._completion(genotype, number))
                context = (self.calibrate_partial or self.calibrate)(self.model)
            elif race is not None and number in race.pauses:
                results, images = self.evaluator.results_so_far(race.metric)
                share = number / len(self.batches)
                if results is not None and (stopped := race.judge(results, images, share)):
                    raise _Ended(stopped)
            with context, self.precision():
                return self.predict(batch)

        self.model.eval()
        if is_complete:
            self.supernet.set_path(genotype)
        calibration = self.calibrate(self.model) if is_complete else nullcontext()
        # Quiet, because Detectron2 logs every evaluation in full. Inference mode is more than
        # no_grad(), which inference_on_dataset() uses: tensors have no version counters.
        with quiet("detectron2.evaluation"), torch.inference_mode():
            try:
                with calibration:
                    results = inference_on_dataset(predict, self.batches, self.evaluator)
            except _Ended as ended:
                stopped: Stopped = ended.args[0]
                return stopped
        return {name: float(value) for name, value in flatten_results_dict(results).items()}

    def image_results(self, metric: str) -> ImageResults | None:
        """Return the results per image of a metric of the last call, if they are known."""
        results = getattr(self.evaluator, "image_results", None)
        return None if results is None else results(metric)

    def _completion(self, prefix: Genotype, batch_number: int) -> Genotype:
        # Not seeded by the prefix, so that all of the same length get the same completions.
        level = len(self.space.values(prefix, partial=True))
        return self.space.complete(prefix, Random(f"{self.seed}/{level}/{batch_number}"))


class _Ended(Exception):
    """Ends Detectron2's loop over the batches; its argument is the result."""
