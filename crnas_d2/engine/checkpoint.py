"""Loading weights that must fit exactly."""

from detectron2.checkpoint import DetectionCheckpointer
from fvcore.common.checkpoint import _IncompatibleKeys

__all__ = ["StrictCheckpointer"]


class StrictCheckpointer(DetectionCheckpointer):
    """A Detectron2 checkpointer that refuses weights which do not fit the model in every name.

    Detectron2 warns and goes on with random weights, which is right before training and never
    right before an evaluation.

    Raises:
        ValueError: on ``load``, with the names and shapes that differ.
    """

    def _log_incompatible_keys(self, incompatible: _IncompatibleKeys) -> None:
        problems = {
            "the model needs, the file lacks": incompatible.missing_keys,
            "the file holds, the model has no place for": incompatible.unexpected_keys,
            "differ in shape (name, file, model)": incompatible.incorrect_shapes,
        }
        found = [
            f"{len(names)} that {what}: {', '.join(map(str, names[:3]))}"
            + (", ..." if len(names) > 3 else "")
            for what, names in problems.items()
            if names
        ]
        if found:
            raise ValueError(
                "MODEL.WEIGHTS do not fit this model. Tensors: "
                + "; ".join(found)
                + ". Use the config with which the weights were trained."
            )
