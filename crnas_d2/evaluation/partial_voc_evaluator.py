"""Detectron2's evaluator of PASCAL VOC, on a part of a dataset."""

import tempfile
from collections.abc import Collection
from pathlib import Path

from detectron2.evaluation import PascalVOCDetectionEvaluator


class PartialVOCEvaluator(PascalVOCDetectionEvaluator):
    """VOC's AP on some of the images of a dataset; the objects of others do not count as missed.

    Args:
        image_ids: of these images, the names of their annotation files.
    """

    def __init__(self, dataset_name: str, image_ids: Collection[str]):
        super().__init__(dataset_name)
        self._image_ids = tuple(image_ids)

    def evaluate(self) -> dict | None:
        """Return what Detectron2's evaluator does; ``None`` off the main process."""
        with tempfile.TemporaryDirectory() as folder:
            image_set = Path(folder, "images.txt")
            image_set.write_text("".join(f"{name}\n" for name in self._image_ids))
            self._image_set_path = str(image_set)
            return super().evaluate()
