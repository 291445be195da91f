"""A Detectron2 checkpointer that reads files as data."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlparse

import numpy as np
import torch
from detectron2.checkpoint import DetectionCheckpointer
from torch import Tensor

from .convention import convention_of_file, differences
from .files import UnreadableFileError, fetch_weights, read_file


def check_weights(path: str) -> None:
    """Fetch and read ``MODEL.WEIGHTS`` before work starts.

    Raises:
        ValueError: the file cannot be fetched, is damaged, or holds no weights.
    """
    SafeCheckpointer(torch.nn.Module()).read(path)


def weights_convention(path: str) -> Mapping[str, object]:
    """Return, by config key, what is known of the network of a file, e.g. ``INPUT.FORMAT``.

    Raises:
        ValueError: as :func:`check_weights`.
    """
    content = SafeCheckpointer(torch.nn.Module()).read(path)
    return convention_of_file(content, content["model"])


class SafeCheckpointer(DetectionCheckpointer):
    """A Detectron2 checkpointer that reads files as data, and names them in its errors.

    Args:
        network: of :func:`describe_network`; without it, what files say is not compared.
    """

    def __init__(
        self, model, save_dir="", *, network: Mapping[str, object] | None = None, **checkpointables
    ):
        super().__init__(model, save_dir, **checkpointables)
        self.network = dict(network or {})
        self._filename = ""
        self._key = "MODEL.WEIGHTS "  # that names the files

    def read(self, path: str) -> dict[str, Any]:
        """Return the content of a file, with its weights, as tensors by name, under ``model``.

        Raises:
            ValueError: it cannot be fetched, is damaged, or holds no weights.
        """
        self._filename, local = path, fetch_weights(path)
        try:
            content = self._load_file(local)
        except UnreadableFileError as error:
            cached = f" It was downloaded from {path}; delete it to try again."
            raise UnreadableFileError(
                f"{self._key}{error}{cached if local != path else ''}"
            ) from error
        if local != path:  # Detectron2's option in the query of a URL
            option = parse_qs(urlparse(path).query).get("matching_heuristics")
            content["matching_heuristics"] = content.get("matching_heuristics") or bool(option)
        return content

    def _load_file(self, filename: str) -> dict[str, Any]:
        content = read_file(filename)
        if filename.endswith(".pkl") and not {"model", "__author__"} <= content.keys():
            # Caffe2's files; detectors have "blobs", classifiers are the blobs themselves.
            blobs = content.get("blobs", content)
            weights = {k: v for k, v in blobs.items() if not str(k).endswith("_momentum")}
            content = {"model": weights, "__author__": "Caffe2", "matching_heuristics": True}
        elif "model_state" in content:
            content = {"model": content["model_state"], "__author__": "pycls"}
        elif "model" not in content:
            content = {"model": content}
        content["model"] = _as_tensors(filename, content["model"])
        return content

    def load(self, path: str, checkpointables: list[str] | None = None) -> dict[str, Any]:
        """Load the weights, and the state of all or the given checkpointables.

        Raises:
            ValueError: the file cannot be read, or does not fit.
        """
        if not path:
            return super().load(path, checkpointables)
        # Not that of the base class, which would parse a path that contains "?" as a URL.
        self.logger.info("Loading %s ...", path)
        content = self.read(path)
        incompatible = self._load_model(content)
        if incompatible is not None:
            self._log_incompatible_keys(incompatible)
        for key in self.checkpointables if checkpointables is None else checkpointables:
            if key in content:
                self.checkpointables[key].load_state_dict(content.pop(key))
        return content

    def _differences(
        self, checkpoint: dict[str, Any], *, same_training: bool = False
    ) -> dict[str, object]:
        said = convention_of_file(checkpoint, checkpoint["model"])
        return differences(said, self.network, same_training=same_training)


def _as_tensors(filename: str, weights: object) -> dict[str, Tensor]:
    expected = "expected a state dict, tensors by name, at the top or under 'model'"
    if not isinstance(weights, Mapping):
        raise UnreadableFileError(
            f"{filename}: the weights are of type {type(weights).__name__}; {expected}."
        )
    tensors = {}
    for name, value in weights.items():
        if not isinstance(value, Tensor) and not hasattr(value, "__array__"):
            raise UnreadableFileError(
                f"{filename}: '{name}' is of type {type(value).__name__}; {expected}."
            )
        try:
            if not isinstance(value, Tensor):
                array = np.asarray(value)
                value = torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))
        except (TypeError, ValueError) as error:
            raise UnreadableFileError(
                f"{filename}: '{name}' is no array of numbers ({error}); {expected}."
            ) from error
        tensors[str(name)] = value
    if not tensors:
        raise UnreadableFileError(f"{filename} holds no tensors; {expected}.")
    return tensors
