"""Choose the recipe for a dataset on this machine, and count the cost of its network."""

import torch
from detectron2.config import CfgNode

from crnas_d2.checkpoint import TrainingCheckpointer, read_weights
from crnas_d2.common.third_party import quiet
from crnas_d2.config import NetworkSpec, load_config
from crnas_d2.config.entries import set_entries
from crnas_d2.cost import body_cost
from crnas_d2.engine import Trainer

from .recipe import BASE, Recipe, nested
from .statistics import Statistics

# What a file of weights says of images and blocks; the rest describes another network.
_CONVENTION = ("INPUT.FORMAT", "MODEL.PIXEL_MEAN", "MODEL.PIXEL_STD", "MODEL.RESNETS.STRIDE_IN_1X1")


def choose_recipe(
    statistics: Statistics, archtrain: int, *, preset: str, device: str, weights: str = ""
) -> Recipe:
    """Return the recipe for a dataset on this machine.

    Args:
        archtrain: number of images in archtrain.
        preset: ``quick``, ``standard`` or ``paper``.
        device: ``cpu`` or ``gpu``; "" for a GPU if there is one.
        weights: a file or URL of weights of a ResNet-50; "" for the published ones on a GPU, and
            none on a CPU.

    Raises:
        ValueError: the file of weights cannot be read, or does not fit a ResNet-50.
    """
    has_gpu = torch.cuda.is_available()
    memory = torch.cuda.get_device_properties(0).total_memory / 2**30 if has_gpu else 0.0
    file = read_weights(weights) if weights else None
    said = file.convention if file else {}
    recipe = Recipe(
        statistics,
        archtrain,
        preset,
        device or ("gpu" if has_gpu else "cpu"),
        weights=weights,
        convention=tuple((key, said[key]) for key in _CONVENTION if key in said),
        gpu_memory=memory,
    )
    if file:
        model = Trainer.build_model(_network_config(recipe))
        with quiet("crnas_d2"):  # what starts from scratch is said by the training
            TrainingCheckpointer(model).load(file)
    return recipe


def network_macs(recipe: Recipe) -> float:
    """Return the MACs of the detector's body, for one image of the recipe's size."""
    cfg = _network_config(recipe)
    return body_cost(NetworkSpec.from_config(cfg), tuple(cfg.SEARCH.COST_INPUT_SIZE)).macs


def _network_config(recipe: Recipe) -> CfgNode:
    cfg = load_config(BASE, ["MODEL.DEVICE", "cpu"])
    set_entries(cfg, nested(recipe.network()))
    cfg.MODEL.DEVICE = "cpu"  # the recipe's may not be at hand
    return cfg
