"""A file of weights, read once: its tensors, their names, and what is known of its network."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlparse

import numpy as np
import torch
from detectron2.checkpoint.c2_model_loading import convert_c2_detectron_names
from torch import Tensor

from crnas_d2.common.secrets_in_urls import hide_secrets
from crnas_d2.space import FAMILY_REGISTRY, Family

from .files import STATE_DICT, UnreadableFileError, fetch_weights, read_file


@dataclass(frozen=True)
class WeightFile:
    """What a file of weights holds; any checkpointer of ours loads it."""

    path: str  # as MODEL.WEIGHTS names it, without a password
    tensors: Mapping[str, Tensor]  # by their names in the file
    content: Mapping[str, Any]  # the rest, e.g. iteration, or Detectron2's __author__

    @property
    def convention(self) -> Mapping[str, object]:
        """What it says, or else is known, of its network and images, by config key."""
        if isinstance(self.content.get("network"), Mapping):  # else of another project
            return self.content["network"]
        if author := self.content.get("__author__"):
            for _, family in FAMILY_REGISTRY:
                if convention := family.converted_convention(author, self.tensors):
                    return convention
        published, _ = _published_by(self.tensors)
        if published is not None:
            return published.published_convention
        # Old files of Detectron2 hold the constants, of shape (3, 1, 1).
        return {
            f"MODEL.{name.upper()}": [float(value) for value in self.tensors[name].flatten()]
            for name in ("pixel_mean", "pixel_std")
            if name in self.tensors
        }


def read_weights(path: str, key: str = "MODEL.WEIGHTS ") -> WeightFile:
    """Fetch and read a file of weights, or a URL; ``key`` names it in messages.

    Raises ValueError if it cannot be fetched, and UnreadableFileError if it is damaged, or holds no
    weights.
    """
    local = fetch_weights(path)
    try:
        content = read_file(local)
        if local.endswith(".pkl") and not {"model", "__author__"} <= content.keys():
            # Caffe2's files; detectors have "blobs", classifiers are the blobs themselves.
            blobs = content.get("blobs", content)
            weights = {k: v for k, v in blobs.items() if not str(k).endswith("_momentum")}
            content = {"model": weights, "__author__": "Caffe2", "matching_heuristics": True}
        elif "model_state" in content:
            content = {"model": content["model_state"], "__author__": "pycls"}
        elif "model" not in content:
            content = {"model": content}
        tensors = _as_tensors(local, content.pop("model"))
    except UnreadableFileError as error:
        cached = f" It was downloaded from {hide_secrets(path)}; delete it to try again."
        raise UnreadableFileError(f"{key}{error}{cached if local != path else ''}") from error
    if local != path:  # Detectron2's option in the query of a URL
        option = parse_qs(urlparse(path).query).get("matching_heuristics")
        content["matching_heuristics"] = content.get("matching_heuristics") or bool(option)
    return WeightFile(hide_secrets(path), tensors, content)


def _as_tensors(filename: str, weights: object) -> dict[str, Tensor]:
    def refuse(what: str) -> UnreadableFileError:
        return UnreadableFileError(f"{filename}{what}; {STATE_DICT}")

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
        if value.layout != torch.strided or value.is_quantized or value.is_meta:
            raise refuse(f": '{name}' is a sparse, quantized or meta tensor, not one of numbers")
        if value.is_complex():
            raise refuse(f": '{name}' is of complex numbers")
        tensors[str(name)] = value
    if not tensors:
        raise refuse(" holds no tensors")
    return tensors


def to_detectron2_names(
    weights: Mapping[str, Tensor], author: str | None = None
) -> list[tuple[str, str, Tensor]]:
    """Return ``(name in the file, Detectron2's name, tensor)`` of each tensor.

    Files that Detectron2 converted from Caffe2 are recognized by their ``__author__``, those that
    families publish by their names, see :meth:`Family.published_names`.
    """
    if author == "Caffe2":
        # It needs the tensors, because it also moves the background class of predictors.
        renamed, originals = convert_c2_detectron_names(weights)
        return [(originals[name], name, tensor) for name, tensor in renamed.items()]
    _, names = _published_by(weights)
    return [(name, names[name], tensor) for name, tensor in weights.items()]


def _published_by(names: Iterable[str]) -> tuple[type[Family] | None, dict[str, str]]:
    """Return the family whose published names these are, and Detectron2's names for them."""
    names = list(names)
    strip = "module." if all(name.startswith("module.") for name in names) else ""  # DDP's
    plain = [name.removeprefix(strip) for name in names]
    for _, family in FAMILY_REGISTRY:
        found = family.published_names(plain)
        if found is not None:
            return family, dict(zip(names, (found[name] for name in plain), strict=True))
    return None, dict(zip(names, plain, strict=True))
