"""COCO AP by faster-coco-eval, behind Detectron2's evaluator."""

import contextlib
import io
import json
import os
from collections import Counter
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
_AREAS = {"APs": "small", "APm": "medium", "APl": "large"}


class FastCOCOEvaluator(COCOEvaluator):
    """Detectron2's COCO evaluator with the C++ implementation of faster-coco-eval.

    Detectron2's own needs its compiled extension, which a source-only install does not have; its
    Python fallback takes longer than inference on a small archval set. Ids may be any whole
    numbers, as in pycocotools: the C++ code, whose ids have 64 bits, gets others. An annotation
    without ``area`` or ``iscrowd`` gets width * height and 0.

    Where nothing is detected, AP is 0; it is nan only where there is no object to detect.

    Args:
        oks_sigmas: one for each key point; by default COCO's for 17 key points of a person.
        keeps_images: keep what :meth:`image_results` returns, about 500 MiB for COCO's val2017.
        image_ids: of the images to score on; the objects of others do not count. Default: all.
        max_detections: of an image and class that count, the best ones; COCO's 100 at least, and
            -1 for all. Key points have COCO's limit of 20.
    """

    _coco_api: Any

    def __init__(
        self,
        dataset_name: str,
        *,
        tasks: Sequence[str] | None = None,
        distributed: bool = True,
        output_dir: str | None = None,
        oks_sigmas: Sequence[float] = (),
        keeps_images: bool = False,
        image_ids: Collection[int] | None = None,
        max_detections: int = 100,
    ):
        from faster_coco_eval import COCO  # here, because its import takes long

        super().__init__(
            dataset_name,
            tasks,
            distributed,
            output_dir,
            use_fast_impl=False,
            kpt_oks_sigmas=oks_sigmas,
        )
        self._keeps_images, self._max_detections = keeps_images, max_detections
        self._evaluations: dict[str, Any] = {}
        dataset: dict[str, Any] = self._coco_api.dataset
        if image_ids is not None:
            dataset = subset(dataset, image_ids, {})
        # In the order of the ids, which decides between equal scores.
        self._image_numbers, self._category_numbers = (
            {id_: n for n, id_ in enumerate(sorted(r["id"] for r in dataset[records]), start=1)}
            for records in ("images", "categories")
        )
        numbered = {
            **dataset,
            "images": [{**r, "id": self._image_numbers[r["id"]]} for r in dataset["images"]],
            "categories": [
                {**r, "id": self._category_numbers[r["id"]]} for r in dataset["categories"]
            ],
        }
        if "annotations" in dataset:
            numbered["annotations"] = []
            for number, annotation in enumerate(dataset["annotations"], start=1):
                _, _, width, height = annotation["bbox"]
                defaults = {"area": width * height, "iscrowd": 0}
                visible = (annotation.get("keypoints") or [])[2::3]
                defaults["num_keypoints"] = sum(flag > 0 for flag in visible)
                record = {**defaults, **self._renumbered(annotation), "id": number}
                numbered["annotations"].append(record)
        with contextlib.redirect_stdout(io.StringIO()):
            self._coco_api = COCO(numbered)

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

        The metric is e.g. ``bbox/AP``, ``segm/APs``, ``bbox/AP50`` or ``bbox/AP-<class>``. Return
        ``None`` before an evaluation, without ``keeps_images``, or if it is no average precision.
        """
        task, _, name = metric.partition("/")
        return self._matches(self._evaluations.get(task), name)

    def results_so_far(self, metric: str) -> tuple[DetectionMatches | None, np.ndarray]:
        """Return the same for the images that were processed so far, and their sorted indices."""
        ids = [prediction["image_id"] for prediction in self._predictions]
        results = self.image_results_of(self._coco_results(self._predictions), metric, ids)
        return results, np.sort([self._image_numbers[id_] - 1 for id_ in ids])

    def image_results_of(
        self, results: Records, metric: str, image_ids: Collection[int] | None = None
    ) -> DetectionMatches | None:
        """Return the same for the ``coco_instances_results.json`` of an earlier run."""
        assert self._keeps_images
        task, _, name = metric.partition("/")
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
        classes = self._classes or None
        for task in self._tasks or self._tasks_from_predictions(results):
            evaluation = self._evaluate(results, task, img_ids)
            if self._keeps_images:
                self._evaluations[task] = evaluation
            self._results[task] = self._derive_coco_results(evaluation, task, class_names=classes)

    @property
    def _classes(self) -> list[str]:
        """The classes in the order of their ids, which a model need not have, or nothing."""
        names = list(self._metadata.get("thing_classes", ()))
        index_of = self._metadata.get("thing_dataset_id_to_contiguous_id") or {}
        return [names[index_of[id_]] for id_ in sorted(index_of)] or names

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
        self, results: Records, task: str, ids: Collection[int] | None, *, accumulates: bool = True
    ) -> Any:
        """Return the evaluation of all images, or of those with the ids."""
        from faster_coco_eval import COCO, COCOeval_faster

        results = [self._renumbered(result) for result in results]
        if task == "segm":
            # COCO's code would use the area of the box instead of that of the mask.
            results = [{k: v for k, v in result.items() if k != "bbox"} for result in results]
        # Detectron2 logs the summary as a table.
        with contextlib.redirect_stdout(io.StringIO()):
            # It cannot load an empty list.
            nothing = {**self._coco_api.dataset, "annotations": []}
            found = self._coco_api.loadRes(results) if results else COCO(nothing)
            keeps = self._keeps_images
            evaluation = COCOeval_faster(self._coco_api, found, task, separate_eval=keeps)
            if task != "keypoints" and not 0 <= self._max_detections <= 100:
                most = max(Counter(result["image_id"] for result in results).values(), default=0)
                limit = most if self._max_detections < 0 else self._max_detections
                evaluation.params.maxDets = [1, 10, max(100, limit)]
            # It would leave out classes without objects, if key points are asked for.
            evaluation.params.catIds = sorted(self._category_numbers.values())
            if task == "keypoints" and self._kpt_oks_sigmas:
                evaluation.params.kpt_oks_sigmas = np.array(self._kpt_oks_sigmas)
            if ids is not None:
                evaluation.params.imgIds = [self._image_numbers[image] for image in ids]
            evaluation.evaluate()
            if accumulates:
                evaluation.accumulate()
                evaluation.summarize()
        return evaluation

    def _matches(self, evaluation: Any, name: str) -> DetectionMatches | None:
        """Collect the results of the images for a metric: ``AP50``, ``APs``, ``AP-<class>``."""
        if evaluation is None:
            return None
        params, classes = evaluation.params, self._classes
        thresholds: slice | np.ndarray = slice(None)
        area, chosen = _AREAS.get(name, "all"), list(range(len(params.catIds)))
        if name in ("AP50", "AP75"):
            thresholds = np.isclose(params.iouThrs, int(name[2:]) / 100)
        elif name.startswith("AP-") and name[3:] in classes:
            chosen = [classes.index(name[3:])]
        elif name != "AP" and name not in _AREAS:
            return None
        if area not in params.areaRngLbl:  # there are no small key points
            return None
        categories = []
        for category in chosen:
            # One after the other: categories, ranges of areas, images.
            block = category * len(params.areaRng) + params.areaRngLbl.index(area)
            start, end = (number * len(params.imgIds) for number in (block, block + 1))
            images = (_state(i, len(params.iouThrs)) for i in evaluation._evalImgs_cpp[start:end])
            categories.append([(s, t[thresholds], i[thresholds], n) for s, t, i, n in images])
        return DetectionMatches.from_images(categories)


def _state(image: Any, num_thresholds: int) -> tuple[list[float], np.ndarray, np.ndarray, int]:
    """Return the matches of one image for :meth:`DetectionMatches.from_images`.

    Python has no other access to them than their state for pickle, which other versions of
    faster-coco-eval may keep in another layout: a JobError.
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
