"""All checks of a config before work starts, once for all processes."""

import logging
import os
from collections.abc import Sequence
from importlib.util import find_spec as find_module
from pathlib import Path

from detectron2.config import CfgNode

from crnas_d2.checkpoint import read_weights
from crnas_d2.common.errors import did_you_mean, invalid
from crnas_d2.common.files import check_writable
from crnas_d2.config import NetworkSpec, spell
from crnas_d2.config.architectures import find_architecture
from crnas_d2.config.checks import check_model, find_spec
from crnas_d2.config.values import check_values
from crnas_d2.cost import check_costs
from crnas_d2.data import check_data
from crnas_d2.evaluation import evaluator_builder

from .scores import SCORE_REGISTRY, Score
from .solver import check_lr_scheduler

logger = logging.getLogger(__name__)

# Files of a training or a search that could be lost. A training without a checkpoint has none.
_TRACES = ("last_checkpoint", "model_final.pth", "search.db")


def check_config(cfg: CfgNode, dataset_keys: Sequence[str]) -> NetworkSpec | None:
    """Register the user's datasets; check settings that would fail, or mislead, hours later.

    ``dataset_keys`` are those of ``cfg.DATASETS`` that will be read, e.g. ``TRAIN``. Returns the
    spec of the backbone, or ``None`` if it is not ours. This and all other checks raise ValueError,
    naming the key, its value and what to do.
    """
    trains = "TRAIN" in dataset_keys
    check_values(cfg)
    check_lr_scheduler(cfg)
    if cfg.SOLVER.WARMUP_ITERS >= cfg.SOLVER.MAX_ITER and trains:
        logger.warning(
            f"SOLVER.WARMUP_ITERS is {cfg.SOLVER.WARMUP_ITERS}, but SOLVER.MAX_ITER is "
            f"{cfg.SOLVER.MAX_ITER}: the learning rate never reaches SOLVER.BASE_LR. Set "
            "SOLVER.WARMUP_ITERS to less."
        )
    check_costs(cfg)
    spec = check_model(cfg)
    if trains and cfg.VIS_PERIOD and find_module("cv2") is None:
        but = "Detectron2 draws with OpenCV, which is not installed"
        fix = "Run pip install opencv-python-headless, or set it to 0"
        raise invalid("VIS_PERIOD", cfg.VIS_PERIOD, but=but, fix=fix)
    check_data(cfg, dataset_keys)
    return spec


def check_training(cfg: CfgNode, *, resume: bool = False) -> None:
    """Check a config before :func:`train`; only a resumed one may have a run in ``OUTPUT_DIR``."""
    check_writable(cfg.OUTPUT_DIR)
    spec = find_spec(cfg)
    kind = None if spec is None else spec.kind
    # A search would refuse an archval that was trained on, but only days later.
    check_config(cfg, ["TRAIN", "TEST"] + (["ARCHVAL"] if kind is not None else []))
    if not cfg.DATASETS.TRAIN:
        raise ValueError("DATASETS.TRAIN is empty: name a --config-file or datasets to train on.")
    if kind is not None:
        kind.check_training(cfg)
    if len(cfg.DATASETS.TEST) == 1:
        known = evaluator_builder(cfg, cfg.DATASETS.TEST[0]).metric_names()
        for name in (f"{task}/{metric}" for task, metric, *_ in cfg.TEST.EXPECTED_RESULTS):
            if name not in known:
                raise ValueError(
                    f"TEST.EXPECTED_RESULTS names {name}; {cfg.DATASETS.TEST[0]} gives "
                    f"{', '.join(known)}.{did_you_mean(name, known)}"
                )
    # Empty files are those of a training that failed before its first step.
    paths = {name: os.path.join(cfg.OUTPUT_DIR, name) for name in _TRACES}
    found = [name for name, path in paths.items() if os.path.exists(path) and os.stat(path).st_size]
    if found and not resume:
        raise ValueError(
            f"OUTPUT_DIR {cfg.OUTPUT_DIR} holds another run already ({found[0]}): continue it "
            "with --resume, or choose another OUTPUT_DIR."
        )
    if cfg.MODEL.WEIGHTS and not (resume and os.path.exists(paths["last_checkpoint"])):
        read_weights(cfg.MODEL.WEIGHTS)


def check_evaluation(cfg: CfgNode) -> None:
    """Check a config before :func:`crnas_d2.engine.training.evaluate`."""
    check_writable(cfg.OUTPUT_DIR)
    check_config(cfg, ["TEST"])
    if not cfg.MODEL.WEIGHTS:
        raise ValueError("--eval-only needs MODEL.WEIGHTS, the checkpoint to evaluate.")
    if not cfg.DATASETS.TEST:
        raise ValueError("--eval-only needs DATASETS.TEST, the datasets to evaluate on.")
    read_weights(cfg.MODEL.WEIGHTS)


def has_checkpoint(folder: str | os.PathLike) -> bool:
    """Whether a training can be continued in a folder."""
    folder = Path(folder)
    return (folder / "last_checkpoint").exists() or any(folder.glob("model_[0-9]*.pth"))


def check_resumable(cfg: CfgNode) -> None:
    """Raise ValueError if ``OUTPUT_DIR`` holds no training to continue with ``--resume``."""
    if not has_checkpoint(cfg.OUTPUT_DIR):
        raise ValueError(
            f"--resume finds no checkpoint in OUTPUT_DIR {cfg.OUTPUT_DIR}: there is nothing to "
            "continue. Name the folder of the training, or start a new one without --resume."
        )


def _check_image_sizes(cfg: CfgNode, score: type[Score]) -> None:
    """Raise ValueError where the size of the images cannot be a choice."""
    architecture, anchors = find_architecture(cfg), cfg.MODEL.ANCHOR_GENERATOR.NAME
    but = ""
    if not score.uses_supernet:
        but = f"SEARCH.SCORE '{score.name}' looks at no images"
    elif not architecture.detects:
        but = f"MODEL.META_ARCHITECTURE '{architecture.name}' is not known to detect objects"
    elif "anchors" in architecture.parts and anchors != "DefaultAnchorGenerator":
        but = f"anchors of MODEL.ANCHOR_GENERATOR.NAME '{anchors}' cannot be scaled"
    if but:
        sizes = list(cfg.SEARCH.IMAGE_SIZES)
        raise invalid("SEARCH.IMAGE_SIZES", sizes, but=but, fix="Set it to []")


def check_search(cfg: CfgNode) -> NetworkSpec:
    """Check that a config describes a search that can be run; return the spec of its supernet."""
    spec = NetworkSpec.from_config(cfg)
    if not spec.is_supernet:
        raise ValueError(
            "Nothing to search: MODEL.SUPERNET.SPACE is 'none' or PATH_SAMPLER is 'fixed'. Use "
            "the config with which the supernet was trained."
        )
    if spec.kind is not None and spec.is_searched_in_training:
        raise ValueError(
            f"MODEL.SUPERNET.SPACE is '{spec.kind.name}', which is searched by gradient while the "
            f"supernet is trained: {spell('train')} writes genotype.yaml when it is done."
        )
    score = SCORE_REGISTRY.get(cfg.SEARCH.SCORE)
    score.check(cfg)
    if cfg.SEARCH.IMAGE_SIZES:
        _check_image_sizes(cfg, score)
    if (score.uses_supernet or cfg.SEARCH.FINALISTS.NUMBER) and len(cfg.DATASETS.ARCHVAL) != 1:
        raise invalid("DATASETS.ARCHVAL", cfg.DATASETS.ARCHVAL, "exactly one dataset")
    if os.path.exists(os.path.join(cfg.OUTPUT_DIR, "last_checkpoint")):
        raise ValueError(
            f"OUTPUT_DIR {cfg.OUTPUT_DIR} holds a training, whose files a search would overwrite; "
            "choose another OUTPUT_DIR."
        )
    return spec
