"""Build the evaluator of a dataset from its metadata."""

from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator, PascalVOCDetectionEvaluator

from crnas_d2.data import kept_ids

from .classification_evaluator import ClassificationEvaluator
from .fast_coco_evaluator import FastCOCOEvaluator
from .partial_voc_evaluator import PartialVOCEvaluator


def build_evaluator(cfg, dataset_name: str, *, in_search: bool = False) -> DatasetEvaluator:
    """Build the evaluator for the ``evaluator_type`` of a dataset.

    That of archval does not count the objects of the images that are left out, see
    :func:`~crnas_d2.data.datasets.archval.read_images`.

    Args:
        in_search: for the candidates of a search: no process group is used, and predictions are
            not written to OUTPUT_DIR.

    Raises:
        ValueError: an unknown ``evaluator_type``.
    """
    evaluator_type = MetadataCatalog.get(dataset_name).get("evaluator_type", "none")
    if evaluator_type == "coco":
        output_dir = None if in_search else _predictions_folder(cfg, dataset_name)
        return FastCOCOEvaluator(
            dataset_name,
            tasks=_tasks(cfg),
            distributed=not in_search,
            output_dir=output_dir,
            keeps_images=in_search,
            image_ids=kept_ids(cfg, dataset_name),
        )
    if evaluator_type == "pascal_voc":
        image_ids = kept_ids(cfg, dataset_name)
        if image_ids is not None:
            return PartialVOCEvaluator(dataset_name, image_ids)
        return PascalVOCDetectionEvaluator(dataset_name)
    if evaluator_type == "classification":
        return ClassificationEvaluator(distributed=not in_search)
    raise ValueError(
        f"Dataset '{dataset_name}' has the evaluator_type '{evaluator_type}'; known: coco, "
        "pascal_voc, classification. Set it with MetadataCatalog.get(name).evaluator_type."
    )


def metric_names(cfg, dataset_name: str) -> list[str]:
    """Return the metrics of the dataset's evaluator as ``task/name``, e.g. ``bbox/AP``."""
    metadata = MetadataCatalog.get(dataset_name)
    if metadata.get("evaluator_type") == "classification":
        return ["classification/top1", "classification/top5"]
    if metadata.get("evaluator_type") == "pascal_voc":
        return ["bbox/AP", "bbox/AP50", "bbox/AP75"]
    names = ["AP", "AP50", "AP75", "APs", "APm", "APl"]
    classes = metadata.get("thing_classes", ())
    if len(classes) > 1:  # Detectron2 gives no AP per class if there is only one
        names += [f"AP-{name}" for name in classes]
    return [f"{task}/{name}" for task in _tasks(cfg) for name in names]


def _tasks(cfg) -> tuple[str, ...]:
    """Return what a model predicts; Detectron2 cannot tell it from a model without detections."""
    keypoints = ("keypoints",) if cfg.MODEL.KEYPOINT_ON else ()
    return ("bbox", "segm", *keypoints) if cfg.MODEL.MASK_ON else ("bbox", *keypoints)


def _predictions_folder(cfg, dataset_name: str) -> str:
    folder = f"{cfg.OUTPUT_DIR}/inference"
    return f"{folder}/{dataset_name}" if len(cfg.DATASETS.TEST) > 1 else folder
