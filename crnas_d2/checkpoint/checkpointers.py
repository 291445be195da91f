"""Load weights: those that training starts from, and those that must fit exactly."""

import logging
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from fvcore.common.checkpoint import _IncompatibleKeys

from .decoded_weights import decode_state_dict
from .matching import match_weights

__all__ = ["StrictCheckpointer", "TrainingCheckpointer"]

logger = logging.getLogger(__name__)


class TrainingCheckpointer(DetectionCheckpointer):
    """A Detectron2 checkpointer that fills a supernet's replicas and logs what it filled.

    It reads this project's checkpoints, Detectron2's model zoo (Caffe2 and torchvision ``.pkl``,
    detectors) and raw state dicts of torchvision's ResNet, ResNeXt and MobileNetV2, see
    :func:`match_weights`. A file with the body only is enough for a model with body, neck and
    heads; the log says what starts from scratch.

    Files converted from Caffe2 (``MSRA/R-50.pkl``) have the stride in the 1x1 convolution
    (``MODEL.RESNETS.STRIDE_IN_1X1: True``) and take BGR pixels minus Detectron2's default mean.
    Those from torchvision have it in the 3x3 convolution and take RGB pixels with their own mean
    and deviation. If a Caffe2 file has no BN statistics, they are folded into scale and shift,
    which is right for ``FrozenBN`` only. So a supernet should start from torchvision's. A ``.pkl``
    is a pickle, which can run code: load only what you trust.

    Attributes:
        matched: after ``load``, what the model took from the file.

    Args:
        inherit: start as the network of the file, as far as the blocks can, see
            :mod:`crnas_d2.checkpoint.inheritance`.

    Raises:
        ValueError: on ``load``, if no tensor of the body fits, or the file has no weights.
    """

    def __init__(self, model, save_dir="", *, inherit: bool = False, **checkpointables):
        super().__init__(model, save_dir, **checkpointables)
        self._inherit = inherit

    def _load_file(self, filename: str) -> dict[str, Any]:
        self._filename = filename
        return super()._load_file(filename)

    def _load_model(self, checkpoint: dict[str, Any]) -> None:
        weights = checkpoint.pop("model")
        for name, value in weights.items():
            if not isinstance(value, torch.Tensor) and not hasattr(value, "__array__"):
                raise ValueError(
                    f"MODEL.WEIGHTS {self._filename}: '{name}' is of type {type(value).__name__}; "
                    "expected a state dict, tensors by name, at the top or under 'model'."
                )
        weights = {name: torch.as_tensor(value) for name, value in weights.items()}
        matched = match_weights(
            self.model,
            weights,
            author=checkpoint.get("__author__"),
            by_suffix=checkpoint.get("matching_heuristics", False),
            inherit=self._inherit,
        )
        body = matched.in_body(self.model.state_dict())
        if body and not matched.in_body(matched.tensors):
            raise ValueError(
                f"MODEL.WEIGHTS {self._filename}: no tensor of the backbone fits this model. The "
                f"file holds {_first(weights.items())}; the model needs "
                f"{_first((name, self.model.state_dict()[name]) for name in body)}. Use weights "
                "of the same family, type of block and width (MODEL.SUPERNET.FAMILY, "
                "MODEL.RESNETS.*, MODEL.MOBILENETV2.*), or an empty MODEL.WEIGHTS to start from "
                "scratch."
            )
        state = self.model.state_dict()
        for name, value in matched.tensors.items():
            state[name].copy_(value)
        self.matched = matched
        level = logging.INFO if matched.complete else logging.WARNING
        logger.log(level, "%s: %s", self._filename, matched.describe())


def _first(tensors) -> str:
    shown = [f"{name} {tuple(value.shape)}" for name, value in tensors]
    return ", ".join(shown[:3]) + (", ..." if len(shown) > 3 else "")


class StrictCheckpointer(DetectionCheckpointer):
    """A Detectron2 checkpointer that raises ValueError unless the weights fit the model exactly.

    Detectron2 warns and continues with random weights, which is right before a training but never
    before an evaluation. A network with decoded channels also takes the weights of its base network
    or supernet.

    Raises:
        ValueError: on ``load``, with the names and shapes that differ.
    """

    def _load_model(self, checkpoint: dict[str, Any]) -> _IncompatibleKeys:
        self._convert_ndarray_to_tensor(checkpoint["model"])
        checkpoint["model"] = decode_state_dict(self.model, checkpoint["model"])
        return super()._load_model(checkpoint)

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
