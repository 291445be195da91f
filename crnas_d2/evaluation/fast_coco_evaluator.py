"""COCO AP by faster-coco-eval, behind Detectron2's evaluator."""

import contextlib
import io
import json
import os
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from detectron2.evaluation import COCOEvaluator
from detectron2.utils.file_io import PathManager

from crnas_d2.common.errors import JobError
from crnas_d2.data.annotations.coco import subset

from .bootstrap import DetectionMatches

Records = list[dict[str, Any]]

_TESTED = "1.6.5 to 1.8"  # versions of faster-coco-eval, as in pyproject.toml


class FastCOCOEvaluator(COCOEvaluator):
    """Detectron2's COCO evaluator with the C++ implementation of faster-coco-eval.

    Detectron2's own fast version needs its compiled extension, which a source-only install does
    not have; the Python fallback takes longer than inference on a small archval set.

    Ids may be any whole numbers, as in pycocotools: the C++ code, whose ids have 64 bits, gets
    others. An annotation without ``area`` or ``iscrowd`` gets width * height and 0.

    Args:
        keeps_images: keep what :meth:`image_results` returns, about 500 MiB for COCO's val2017.
        image_ids: of the images to score on; the objects of others do not count. Default: all.
    """

    _coco_api: Any

    def __init__(
        self,
        dataset_name: str,
        *,
        tasks: Sequence[str] | None = None,
        distributed: bool = True,
        output_dir: str | None = None,
        keeps_images: bool = False,
        image_ids: Collection[int] | None = None,
    ):
        from faster_coco_eval import COCO  # here, because its import takes long

        super().__init__(dataset_name, tasks, distributed, output_dir, use_fast_impl=False)
        self._keeps_images = keeps_images
        self._evaluations: dict[str, Any] = {}
        dataset: dict[str, Any] = self._coco_api.dataset
        if image_ids is not None:
            dataset = subset(dataset, image_ids, {})
        # In the order of the ids, which decides between equal scores.
        self._image_numbers, self._category_numbers = (
            {id_: n for n, id_ in enumerate(sorted(r["id"] for r in dataset[records]), start=1)}
            for records in ("images", "categories")
        )
        with contextlib.redirect_stdout(io.StringIO()):
            self._coco_api = COCO(self._numbered(dataset))

    def _numbered(self, dataset: dict[str, Any]) -> dict[str, Any]:
        """Return a dataset with ids from 1."""
        images, categories = self._image_numbers, self._category_numbers
        numbered = {
            **dataset,
            "images": [{**image, "id": images[image["id"]]} for image in dataset["images"]],
            "categories": [{**c, "id": categories[c["id"]]} for c in dataset["categories"]],
        }
        if "annotations" in dataset:
            numbered["annotations"] = []
            for number, annotation in enumerate(dataset["annotations"], start=1):
                _, _, width, height = annotation["bbox"]
                defaults = {"area": width * height, "iscrowd": 0}
                record = {**defaults, **self._renumbered(annotation), "id": number}
                numbered["annotations"].append(record)
        return numbered

    def _renumbered(self, record: dict[str, Any]) -> dict[str, Any]:
        return {
            **record,
            "image_id": self._image_numbers[record["image_id"]],
            "category_id": self._category_numbers[record["category_id"]],
        }

    def reset(self) -> None:
        super().reset()
        self._evaluations = {}

    def image_results(self, metric: str) -> DetectionMatches | None:
        """Return the results per image from which a metric of the last evaluation is computed.

        Args:
            metric: e.g. ``bbox/AP``, ``segm/APs``, ``bbox/AP50`` or ``bbox/AP-<class>``.

        Returns:
            ``None`` without predictions or ``keeps_images``, or for a metric that is no average
            precision.
        """
        task, _, name = metric.partition("/")
        evaluation = self._evaluations.get(task)
        return None if evaluation is None else self._matches(evaluation, name)

    def results_so_far(self, metric: str) -> tuple[DetectionMatches | None, np.ndarray]:
        """Return the same for the images that were processed so far, and their indices.

        They are in the order of the ids, as in :meth:`image_results`.
        """
        ids = [prediction["image_id"] for prediction in self._predictions]
        results = self.image_results_of(self._coco_results(self._predictions), metric, ids)
        return results, np.sort([self._image_numbers[id_] - 1 for id_ in ids])

    def image_results_of(
        self, results: Records, metric: str, image_ids: Collection[int] | None = None
    ) -> DetectionMatches | None:
        """Return the same for the ``coco_instances_results.json`` of an earlier run.

        Args:
            image_ids: of the images to score on. Default: all.
        """
        assert self._keeps_images
        task, _, name = metric.partition("/")
        if not results:
            return None
        return self._matches(self._evaluate(results, task, image_ids, accumulates=False), name)

    def _eval_predictions(
        self, predictions: Records, img_ids: Collection[int] | None = None
    ) -> None:
        """Same as Detectron2's, where the implementation of COCO's protocol is not an option."""
        results = self._coco_results(predictions)
        if self._output_dir:
            path = os.path.join(self._output_dir, "coco_instances_results.json")
            with PathManager.open(path, "w") as file:
                json.dump(results, file)
        if not self._do_evaluation:
            self._logger.info("Annotations are not available for evaluation.")
            return
        classes = self._metadata.get("thing_classes")
        for task in self._tasks or self._tasks_from_predictions(results):
            evaluation = self._evaluate(results, task, img_ids) if results else None
            if self._keeps_images:
                self._evaluations[task] = evaluation
            self._results[task] = self._derive_coco_results(evaluation, task, class_names=classes)

    def _coco_results(self, predictions: Records) -> Records:
        """Return the detections of all images, with the categories of the dataset."""
        results = [result for image in predictions for result in image["instances"]]
        to_index = self._metadata.get("thing_dataset_id_to_contiguous_id")
        if to_index is None:
            return results
        to_dataset_id = {index: category for category, index in to_index.items()}
        # New ones, because the evaluation of a part of the images is not the last one.
        return [{**r, "category_id": to_dataset_id[r["category_id"]]} for r in results]

    def _evaluate(
        self,
        results: Records,
        task: str,
        image_ids: Collection[int] | None,
        *,
        accumulates: bool = True,
    ) -> Any:
        from faster_coco_eval import COCOeval_faster

        results = [self._renumbered(result) for result in results]
        if task == "segm":
            # COCO's code would use the area of the box instead of that of the mask.
            results = [{k: v for k, v in result.items() if k != "bbox"} for result in results]
        # Detectron2 logs the summary as a table.
        with contextlib.redirect_stdout(io.StringIO()):
            found = self._coco_api.loadRes(results)
            evaluation = COCOeval_faster(
                self._coco_api, found, task, separate_eval=self._keeps_images
            )
            if image_ids is not None:
                evaluation.params.imgIds = [self._image_numbers[image] for image in image_ids]
            evaluation.evaluate()
            if accumulates:
                evaluation.accumulate()
                evaluation.summarize()
        return evaluation

    def _matches(self, evaluation: Any, name: str) -> DetectionMatches | None:
        """Collect the results of the images for a metric: ``AP50``, ``APs``, ``AP-<class>``."""
        params, classes = evaluation.params, list(self._metadata.get("thing_classes", ()))
        thresholds: slice | np.ndarray = slice(None)
        area, chosen = "all", list(range(len(params.catIds)))
        if name in ("AP50", "AP75"):
            thresholds = np.isclose(params.iouThrs, int(name[2:]) / 100)
        elif name in ("APs", "APm", "APl"):
            area = {"s": "small", "m": "medium", "l": "large"}[name[-1]]
        elif name.startswith("AP-") and name[3:] in classes:
            chosen = [classes.index(name[3:])]
        elif name != "AP":
            return None
        if area not in params.areaRngLbl:  # there are no small key points
            return None
        categories = []
        for category in chosen:
            # One after the other: categories, ranges of areas, images.
            block = category * len(params.areaRng) + params.areaRngLbl.index(area)
            start, end = (number * len(params.imgIds) for number in (block, block + 1))
            images = []
            for image in evaluation._evalImgs_cpp[start:end]:
                scores, is_true, is_ignored, objects = _image_state(image, len(params.iouThrs))
                images.append((scores, is_true[thresholds], is_ignored[thresholds], objects))
            categories.append(images)
        return DetectionMatches.from_images(categories)


def _image_state(
    image: Any, num_thresholds: int
) -> tuple[list[float], np.ndarray, np.ndarray, int]:
    """Return the matches of one image for :meth:`DetectionMatches.from_images`.

    Python has no other access to the matches in C++ than their state for pickle.

    Raises:
        JobError: the installed version of faster-coco-eval keeps another state.
    """
    try:
        matched, _, scores, object_is_ignored, ignored, _ = image.__getstate__()
        shape = num_thresholds, len(scores)
        is_true, is_ignored = np.reshape(matched, shape) > 0, np.reshape(ignored, shape)
        if len(scores) and is_ignored.dtype != bool:
            raise ValueError(f"flags of the type {is_ignored.dtype}")
        return scores, is_true, is_ignored, len(object_is_ignored) - sum(object_is_ignored)
    except (TypeError, ValueError) as error:
        from faster_coco_eval import __version__

        raise JobError(
            f"faster-coco-eval {__version__} keeps the matches of an image in an unknown layout "
            f"({error}); expected a version from {_TESTED}. Install one of these."
        ) from error
