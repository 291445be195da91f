"""The network that a channel search has found so far, apart from the mixture that it trains."""

from collections.abc import Iterator
from contextlib import contextmanager

from detectron2.modeling import build_model
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from crnas_d2.checkpoint import decode_state_dict
from crnas_d2.data import build_fixed_batches
from crnas_d2.evaluation import calibrated
from crnas_d2.modeling import find_supernet

from .norms import replace_norms

__all__ = ["found_network"]


@contextmanager
def found_network(cfg, model: nn.Module) -> Iterator[nn.Module]:
    """Decode the network of the strongest dilations, with the weights of the mixture.

    The BN statistics of the mixture are those of other features. So BN is calibrated on
    ``SEARCH.BN_CALIBRATION.NUM_IMAGES`` of ``DATASETS.TRAIN`` and, within this context, fixed.

    Args:
        cfg: of the search.
        model: a detector on a channel supernet; it does not change.
    """
    if isinstance(model, DistributedDataParallel):
        model = model.module
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.SUPERNET.PATH_SAMPLER = "fixed"
    channels = find_supernet(model).decode().channels
    cfg.MODEL.GENOTYPE.CHANNELS = [list(indices) for indices in channels]
    # All ranks calibrate on the same images, so that they have nothing to synchronize.
    replace_norms(cfg, lambda norm: "BN" if norm in ("SyncBN", "naiveSyncBN") else norm)
    found = build_model(cfg)
    found.load_state_dict(decode_state_dict(found, model.state_dict()))
    batches = build_fixed_batches(
        cfg,
        cfg.DATASETS.TRAIN,
        num_images=cfg.SEARCH.BN_CALIBRATION.NUM_IMAGES,
        with_annotations=True,
    )
    with calibrated(found, batches):
        yield found
