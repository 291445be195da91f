"""The network that a training has found so far, apart from the supernet that it trains."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from crnas_d2.checkpoint import decode_state_dict, subnet_state_dict
from crnas_d2.data import build_fixed_batches
from crnas_d2.evaluation import calibrated
from crnas_d2.modeling import find_supernet
from crnas_d2.space import Genotype


@contextmanager
def found_network(cfg: CfgNode, model: nn.Module, genotype: Genotype) -> Iterator[nn.Module]:
    """Build the network of a genotype with its weights in a supernet, which does not change.

    The BN statistics of a supernet are those of other features, so BN is calibrated anew.
    """
    model, cfg = without_parallel(model), without_sync(cfg)
    cfg.MODEL.SUPERNET.PATH_SAMPLER = "fixed"
    for key, value in genotype.to_config().items():
        cfg.MODEL.GENOTYPE[key] = value
    found = build_model(cfg)
    supernet = find_supernet(model)
    assert supernet is not None
    whole = not supernet.has_paths
    weights = model.state_dict() if whole else subnet_state_dict(model, genotype)
    found.load_state_dict(decode_state_dict(found, weights))
    with calibration(cfg)(found):
        yield found


def calibration(cfg: CfgNode) -> Callable[[nn.Module], AbstractContextManager[None]]:
    """Return a factory of contexts in which the BN statistics of a model fit its active path.

    All ranks calibrate on the same images, so they have nothing to synchronize.
    """
    settings = cfg.SEARCH.BN_CALIBRATION
    batches = build_fixed_batches(
        cfg, **calibration_images(cfg), batch_size=settings.IMS_PER_BATCH or None
    )
    return partial(calibrated, batches=batches, weight=settings.WEIGHT)


def calibration_images(cfg: CfgNode) -> dict[str, Any]:
    return {
        "dataset_names": cfg.DATASETS.TRAIN,
        "num_images": cfg.SEARCH.BN_CALIBRATION.NUM_IMAGES,
        "with_annotations": True,
    }


def without_parallel(model: nn.Module) -> nn.Module:
    """Return the model inside DistributedDataParallel, or the model itself."""
    return model.module if isinstance(model, DistributedDataParallel) else model


def replace_norms(node: CfgNode, replace: Callable[[str], str]) -> None:
    """Replace every ``NORM`` of a config in place."""
    for key, value in node.items():
        if isinstance(value, dict):
            replace_norms(value, replace)
        elif key == "NORM":
            node[key] = replace(value)


def without_sync(cfg: CfgNode) -> CfgNode:
    """Return a config for evaluations, whose BN needs no other process."""
    cfg = cfg.clone()
    cfg.defrost()
    replace_norms(cfg, lambda norm: "BN" if norm in ("SyncBN", "naiveSyncBN") else norm)
    return cfg
