"""What a search asks of its config, and what makes two searches the same."""

import hashlib
import os
from collections.abc import Sequence

from detectron2.data import MetadataCatalog
from detectron2.utils.file_io import PathManager

from crnas_d2.data.prepare.coco_splits import sha256
from crnas_d2.space import Budget, build_search_space, is_supernet

__all__ = ["check_search", "describe_search"]


def check_search(cfg) -> None:
    """Refuses a config with which there is nothing to search.

    Raises:
        ValueError: naming the key, its value and what to do.
    """
    if not is_supernet(cfg):
        raise ValueError(
            "Nothing to search: MODEL.SUPERNET.SPACE is 'none' or PATH_SAMPLER is 'fixed'. Use "
            "the config with which the supernet was trained."
        )
    if cfg.MODEL.SUPERNET.SPACE == "channel":
        raise ValueError(
            "MODEL.SUPERNET.SPACE is 'channel', which is searched by gradient while the supernet "
            "is trained: train_net.py writes genotype.yaml when it is done."
        )
    if not cfg.MODEL.WEIGHTS:
        raise ValueError("MODEL.WEIGHTS is empty: name the checkpoint of the trained supernet.")
    if len(cfg.DATASETS.ARCHVAL) != 1:
        raise ValueError(
            f"DATASETS.ARCHVAL is {cfg.DATASETS.ARCHVAL}; expected exactly one dataset."
        )
    if os.path.exists(os.path.join(cfg.OUTPUT_DIR, "last_checkpoint")):
        raise ValueError(
            f"OUTPUT_DIR {cfg.OUTPUT_DIR} holds a training, whose files a search would overwrite; "
            "choose another OUTPUT_DIR."
        )
    partial = cfg.SEARCH.BN_CALIBRATION.PARTIAL
    if partial not in ("batch", "calibration"):
        raise ValueError(
            f"SEARCH.BN_CALIBRATION.PARTIAL is '{partial}'; expected 'batch' or 'calibration'."
        )


def describe_search(cfg, budgets: Sequence[Budget]) -> dict:
    """What makes two searches the same and their scores comparable, as plain JSON data."""
    space = build_search_space(cfg)
    model = cfg.MODEL.clone()
    model.defrost()
    del model["DEVICE"], model["WEIGHTS"]
    settings = model.dump() + cfg.INPUT.dump() + cfg.TEST.dump()
    return {
        "space": {choice.name: choice.options for choice in space.choices},
        "base": str(space.base),
        "algorithm": cfg.SEARCH.ALGORITHM,
        "greedy": dict(cfg.SEARCH.GREEDY),
        "evolution": dict(cfg.SEARCH.EVOLUTION),
        "optuna": dict(cfg.SEARCH.OPTUNA),
        "second objective": cfg.SEARCH.SECOND_OBJECTIVE,
        "budget": {budget.key: [budget.low, budget.high] for budget in budgets},
        # The same limits on other costs leave other candidates: latencies measured anew, say.
        **{f"digest of the costs of {budget.key}": budget.digest for budget in budgets},
        "metric": cfg.SEARCH.METRIC,
        "weights": sha256(PathManager.get_local_path(cfg.MODEL.WEIGHTS)),
        "archval": [_identify(name) for name in cfg.DATASETS.ARCHVAL],
        "archtrain": [_identify(name) for name in cfg.DATASETS.TRAIN],
        "calibration": dict(cfg.SEARCH.BN_CALIBRATION),
        "seed": cfg.SEED,
        "images per batch": cfg.SEARCH.IMS_PER_BATCH,
        "digest of MODEL, INPUT and TEST": hashlib.sha256(settings.encode()).hexdigest(),
    }


def _identify(dataset_name: str) -> list:
    """A dataset's name and, where it lies in one file, the digest of its annotations."""
    json_file = MetadataCatalog.get(dataset_name).get("json_file")
    return [dataset_name, sha256(json_file) if json_file else None]
