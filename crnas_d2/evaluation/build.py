"""From a dataset's metadata to its evaluator."""

from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator, PascalVOCDetectionEvaluator

from .fast_coco_evaluator import FastCOCOEvaluator

__all__ = ["build_evaluator"]


def build_evaluator(cfg, dataset_name: str, *, in_search: bool = False) -> DatasetEvaluator:
    """The evaluator that ``MetadataCatalog`` names for a dataset.

    Args:
        in_search: for the candidates of a search, which share no process group and whose
            predictions are not written to OUTPUT_DIR.
    """
    evaluator_type = MetadataCatalog.get(dataset_name).get("evaluator_type", "none")
    if evaluator_type == "coco":
        output_dir = None if in_search else f"{cfg.OUTPUT_DIR}/inference"
        return FastCOCOEvaluator(dataset_name, distributed=not in_search, output_dir=output_dir)
    if evaluator_type == "pascal_voc":
        return PascalVOCDetectionEvaluator(dataset_name)
    raise ValueError(
        f"Dataset '{dataset_name}' has the evaluator_type '{evaluator_type}'; known: coco, "
        "pascal_voc. Set it with MetadataCatalog.get(name).evaluator_type."
    )
