"""COCO AP by faster-coco-eval, behind Detectron2's evaluator."""

import contextlib
import io

from detectron2.evaluation import COCOEvaluator, coco_evaluation

__all__ = ["FastCOCOEvaluator"]


class FastCOCOEvaluator(COCOEvaluator):
    """Detectron2's COCO evaluator with the C++ implementation of faster-coco-eval.

    Detectron2's own fast version needs its compiled extension, which a source-only install
    lacks; the Python fallback takes longer than the inference on a small archval set.
    """

    def __init__(self, dataset_name: str, *, distributed: bool = True, output_dir=None):
        from faster_coco_eval import COCO

        super().__init__(
            dataset_name, distributed=distributed, output_dir=output_dir, use_fast_impl=False
        )
        with contextlib.redirect_stdout(io.StringIO()):
            self._coco_api = COCO(self._coco_api.dataset)
        self._use_fast_impl = True

    def _eval_predictions(self, predictions, img_ids=None) -> None:
        from faster_coco_eval import COCOeval_faster

        # `COCOeval_opt` is the name under which the base class looks up its fast version.
        original = coco_evaluation.COCOeval_opt
        coco_evaluation.COCOeval_opt = COCOeval_faster
        try:
            # The summary goes to the log already, as a table.
            with contextlib.redirect_stdout(io.StringIO()):
                super()._eval_predictions(predictions, img_ids)
        finally:
            coco_evaluation.COCOeval_opt = original
