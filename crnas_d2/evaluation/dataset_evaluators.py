"""The evaluators of datasets, by the ``evaluator_type`` of their metadata."""

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Collection
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator, PascalVOCDetectionEvaluator

from crnas_d2.common.registry import Registry
from crnas_d2.data import kept_ids

from .classification_evaluator import ClassificationEvaluator
from .fast_coco_evaluator import FastCOCOEvaluator

EVALUATOR_REGISTRY = Registry("EVALUATOR", "evaluator_type")
"""Subclasses of :class:`EvaluatorBuilder` by the ``evaluator_type`` of a dataset's metadata."""

ImageIds = Collection[Any] | None  # of the images to score on; None: all


class EvaluatorBuilder(ABC):
    """Builds the evaluators of a dataset of one ``evaluator_type``.

    A subclass is registered with ``@EVALUATOR_REGISTRY.register("type")``. Datasets whose metadata
    have this ``evaluator_type`` can then be scored in a training and in a search.

    Attributes:
        name: under which it is registered.
        gives_images: its evaluators have ``image_results(metric)`` and ``results_so_far(metric)``,
            as :class:`ClassificationEvaluator` has; races and confidence intervals need them.
        scores_detections: its scores are 0 where nothing is detected, so that a search can be
            stopped before it compares networks that detect nothing.
    """

    name: str
    gives_images = False
    scores_detections = True

    def __init__(self, cfg: CfgNode, dataset_name: str):
        self.cfg, self.dataset_name = cfg, dataset_name

    @abstractmethod
    def build(self, image_ids: ImageIds, *, in_search: bool) -> DatasetEvaluator:
        """Build an evaluator that returns ``{task: {metric: value}}``.

        Args:
            image_ids: of the images to score on; objects in others must not count as missed.
            in_search: for the candidates of a search: uses no process group, writes no files.
        """

    @abstractmethod
    def metric_names(self) -> list[str]:
        """Return the metrics as ``task/name``, e.g. ``bbox/AP``."""


def evaluator_builder(cfg: CfgNode, dataset_name: str) -> EvaluatorBuilder:
    """Return the builder for the ``evaluator_type`` of a dataset; ValueError if it is unknown."""
    name = MetadataCatalog.get(dataset_name).get("evaluator_type", "none")
    key = f"MetadataCatalog.get('{dataset_name}').evaluator_type"
    return EVALUATOR_REGISTRY.get(name, key)(cfg, dataset_name)


def build_evaluator(
    cfg: CfgNode, dataset_name: str, *, in_search: bool = False, image_ids: ImageIds = None
) -> DatasetEvaluator:
    """Build the evaluator of a dataset, see :meth:`EvaluatorBuilder.build`.

    By default it scores on all images, without those of archval that are left out, see
    :func:`~crnas_d2.data.datasets.archval.read_images`. An unknown ``evaluator_type`` is a
    ValueError.
    """
    if image_ids is None:
        image_ids = kept_ids(cfg, dataset_name)
    return evaluator_builder(cfg, dataset_name).build(image_ids, in_search=in_search)


@EVALUATOR_REGISTRY.register("coco")
class COCOBuilder(EvaluatorBuilder):
    """COCO's average precision of boxes, masks and key points."""

    gives_images = True

    def build(self, image_ids: ImageIds, *, in_search: bool) -> FastCOCOEvaluator:
        folder = f"{self.cfg.OUTPUT_DIR}/inference"
        if len(self.cfg.DATASETS.TEST) > 1:
            folder += f"/{self.dataset_name}"
        return FastCOCOEvaluator(
            self.dataset_name,
            tasks=self._tasks,
            distributed=not in_search,
            output_dir=None if in_search else folder,
            oks_sigmas=self.cfg.TEST.KEYPOINT_OKS_SIGMAS,
            keeps_images=in_search,
            image_ids=image_ids,
            max_detections=self.cfg.TEST.DETECTIONS_PER_IMAGE,
        )

    def metric_names(self) -> list[str]:
        names = ["AP", "AP50", "AP75", "APs", "APm", "APl"]
        classes = MetadataCatalog.get(self.dataset_name).get("thing_classes", ())
        if len(classes) > 1:  # Detectron2 gives no AP per class if there is only one
            names += [f"AP-{name}" for name in classes]
        metrics = [f"{task}/{name}" for task in self._tasks for name in names]
        return [metric for metric in metrics if metric != "keypoints/APs"]  # COCO has none

    @property
    def _tasks(self) -> tuple[str, ...]:
        """What the model predicts; Detectron2 infers it from predictions, if there are any."""
        model = self.cfg.MODEL
        wanted = {"bbox": True, "segm": model.MASK_ON, "keypoints": model.KEYPOINT_ON}
        return tuple(task for task, is_on in wanted.items() if is_on)


@EVALUATOR_REGISTRY.register("pascal_voc")
class VOCBuilder(EvaluatorBuilder):
    """Average precision as Detectron2's VOC evaluator computes it."""

    def build(self, image_ids: ImageIds, *, in_search: bool) -> DatasetEvaluator:
        if image_ids is None:
            return PascalVOCDetectionEvaluator(self.dataset_name)
        return _PartialVOCEvaluator(self.dataset_name, image_ids)

    def metric_names(self) -> list[str]:
        return ["bbox/AP", "bbox/AP50", "bbox/AP75"]


class _PartialVOCEvaluator(PascalVOCDetectionEvaluator):
    """VOC's AP on images whose annotation files have the given names."""

    def __init__(self, dataset_name: str, image_ids: Collection[str]):
        super().__init__(dataset_name)
        self._image_ids = tuple(image_ids)

    def evaluate(self) -> dict[str, Any] | None:
        with tempfile.TemporaryDirectory() as folder:
            image_set = Path(folder, "images.txt")
            image_set.write_text("".join(f"{name}\n" for name in self._image_ids))
            self._image_set_path = str(image_set)
            return super().evaluate()


@EVALUATOR_REGISTRY.register("classification")
class ClassificationBuilder(EvaluatorBuilder):
    """Accuracy of a classifier; all images of the loader count."""

    gives_images = True
    scores_detections = False

    def build(self, image_ids: ImageIds, *, in_search: bool) -> DatasetEvaluator:
        return ClassificationEvaluator(distributed=not in_search)

    def metric_names(self) -> list[str]:
        return ["classification/top1", "classification/top5"]
