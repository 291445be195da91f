"""Choose the recipe for a dataset on this machine, and count the cost of its network."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import torch
from detectron2.config import CfgNode

from crnas_d2.checkpoint import TrainingCheckpointer, WeightFile, read_weights
from crnas_d2.common.third_party import quiet
from crnas_d2.config import NetworkSpec, default_config, load_config
from crnas_d2.config.config_file import read_config_file
from crnas_d2.config.entries import nested, set_entries
from crnas_d2.config.installation import shipped_file
from crnas_d2.cost import body_cost
from crnas_d2.engine import Trainer

from .recipe import BASE, LITE, Recipe
from .statistics import Statistics

# What a file of weights says of images and blocks; the rest describes another network.
_CONVENTION = ("INPUT.FORMAT", "MODEL.PIXEL_MEAN", "MODEL.PIXEL_STD", "MODEL.RESNETS.STRIDE_IN_1X1")


@dataclass(frozen=True)
class Start:
    """Weights of a ResNet-50 to start from, and the settings of a config that they need."""

    weights: WeightFile
    convention: tuple[tuple[str, Any], ...]

    @property
    def path(self) -> str:
        """The file, by its absolute path, so that configs work from any folder, or a URL."""
        path = self.weights.path
        return os.path.abspath(path) if os.path.isfile(path) else path


def read_start(weights: str, config: str = "") -> Start | None:
    """Read the weights to start from; ``None`` if none are named.

    How their images were prepared is said by the file, if it is a published one or this project's,
    or else by the config of its training.

    Args:
        weights: a file or URL.
        config: the config, ``config.yaml`` beside the file if it is empty.

    Raises:
        ValueError: the weights cannot be read, or nothing says how images were prepared.
    """
    if not weights:
        return None
    file = read_weights(weights)
    beside = os.path.join(os.path.dirname(weights), "config.yaml")
    if not config and "INPUT.FORMAT" not in file.convention and os.path.isfile(beside):
        config = beside
    said = dict(file.convention)
    if config:
        content = read_config_file(config)
        cfg = default_config()
        for key in _CONVENTION:
            value: Any = content
            for section in key.split("."):
                value = value.get(section) if isinstance(value, dict) else None
            if value is not None:
                set_entries(cfg, nested({key: value}))
        said = {key: attrgetter(key)(cfg) for key in _CONVENTION} | said
    if "INPUT.FORMAT" not in said:
        raise ValueError(
            f"--weights is {weights}, which does not say how its images were prepared, and there "
            f"is no {beside}: name the config of its training with --weights-config FILE."
        )
    return Start(file, tuple((key, said[key]) for key in _CONVENTION if key in said))


def choose_recipe(
    statistics: Statistics,
    archtrain: int,
    *,
    preset: str,
    device: str,
    start: Start | None = None,
    depth_range: Sequence[float] = (),
) -> Recipe:
    """Return the recipe for a dataset on this machine.

    Args:
        archtrain: number of images in archtrain.
        preset: ``quick``, ``standard`` or ``paper``.
        device: ``cpu`` or ``gpu``; "" for a GPU if there is one.
        start: what to start from; default: the published weights on a GPU; on a CPU those of
            EfficientNet-Lite0 if they are installed, else none.
        depth_range: ``INPUT.DEPTH_RANGE``.

    Raises:
        ValueError: the weights do not fit a ResNet-50.
    """
    has_gpu = torch.cuda.is_available()
    memory = torch.cuda.get_device_properties(0).total_memory / 2**30 if has_gpu else 0.0
    recipe = Recipe(
        statistics,
        archtrain,
        preset,
        device or ("gpu" if has_gpu else "cpu"),
        weights=start.path if start else "",
        convention=start.convention if start else (),
        gpu_memory=memory,
        depth_range=tuple(depth_range),
        has_lite=_is_installed(LITE),
    )
    if start:
        model = Trainer.build_model(_network_config(recipe))
        with quiet("crnas_d2"):  # what starts from scratch is said by the training
            TrainingCheckpointer(model).load(start.weights)
    return recipe


def _is_installed(weights: str) -> bool:
    try:
        shipped_file(weights)
    except ValueError:
        return False
    return True


def network_macs(recipe: Recipe) -> float:
    """Return the MACs of the detector's body, for one image of the recipe's size."""
    cfg = _network_config(recipe)
    return body_cost(NetworkSpec.from_config(cfg), tuple(cfg.SEARCH.COST_INPUT_SIZE)).macs


def _network_config(recipe: Recipe) -> CfgNode:
    cfg = load_config(BASE, ["MODEL.DEVICE", "cpu"])
    set_entries(cfg, nested(recipe.network()))
    cfg.MODEL.DEVICE = "cpu"  # the recipe's may not be at hand
    return cfg
