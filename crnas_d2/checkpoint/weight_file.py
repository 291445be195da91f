"""A file of weights, read and checked once; loaders and messages share what was read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlparse

import numpy as np
import torch
from torch import Tensor

from .files import UnreadableFileError, fetch_weights, read_file
from .published import convention_of_file


@dataclass(frozen=True)
class WeightFile:
    """What a file of weights holds; any checkpointer of ours loads it.

    Attributes:
        path: as ``MODEL.WEIGHTS`` names it.
        tensors: by their names in the file.
        content: the rest of the file, e.g. ``iteration``, or Detectron2's ``__author__``.
    """

    path: str
    tensors: Mapping[str, Tensor]
    content: Mapping[str, Any]

    @property
    def convention(self) -> Mapping[str, object]:
        """What is known of its network and images, by config key, e.g. ``INPUT.FORMAT``."""
        return convention_of_file(self.content, self.tensors)


def read_weights(path: str, key: str = "MODEL.WEIGHTS ") -> WeightFile:
    """Fetch and read a file of weights.

    Args:
        path: of the file, or a URL.
        key: what names the file, for messages.

    Raises:
        ValueError: it cannot be fetched.
        UnreadableFileError: it is damaged, or holds no weights.
    """
    local = fetch_weights(path)
    try:
        content = _in_detectron2_layout(local, read_file(local))
        tensors = _as_tensors(local, content.pop("model"))
    except UnreadableFileError as error:
        cached = f" It was downloaded from {path}; delete it to try again."
        raise UnreadableFileError(f"{key}{error}{cached if local != path else ''}") from error
    if local != path:  # Detectron2's option in the query of a URL
        option = parse_qs(urlparse(path).query).get("matching_heuristics")
        content["matching_heuristics"] = content.get("matching_heuristics") or bool(option)
    return WeightFile(path, tensors, content)


def _in_detectron2_layout(filename: str, content: dict[str, Any]) -> dict[str, Any]:
    """Return the content of any known kind of file with its weights under ``model``."""
    if filename.endswith(".pkl") and not {"model", "__author__"} <= content.keys():
        # Caffe2's files; detectors have "blobs", classifiers are the blobs themselves.
        blobs = content.get("blobs", content)
        weights = {k: v for k, v in blobs.items() if not str(k).endswith("_momentum")}
        return {"model": weights, "__author__": "Caffe2", "matching_heuristics": True}
    if "model_state" in content:
        return {"model": content["model_state"], "__author__": "pycls"}
    return content if "model" in content else {"model": content}


def _as_tensors(filename: str, weights: object) -> dict[str, Tensor]:
    def refuse(what: str) -> UnreadableFileError:
        expected = "expected a state dict, tensors by name, at the top or under 'model'"
        return UnreadableFileError(f"{filename}{what}; {expected}.")

    if not isinstance(weights, Mapping):
        raise refuse(f": the weights are of type {type(weights).__name__}")
    tensors = {}
    for name, value in weights.items():
        if not isinstance(value, Tensor):
            if not hasattr(value, "__array__"):
                raise refuse(f": '{name}' is of type {type(value).__name__}")
            try:
                array = np.asarray(value)
                value = torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))
            except (TypeError, ValueError) as error:
                raise refuse(f": '{name}' is no array of numbers ({error})") from error
        tensors[str(name)] = value
    if not tensors:
        raise refuse(" holds no tensors")
    return tensors
