"""Whether a supernet or a detector detects anything, known before a search compares its subnets."""

import logging
from random import Random

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from torch import nn

from crnas_d2.data import build_fixed_batches
from crnas_d2.engine import Trainer, without_sync
from crnas_d2.evaluation import EVALUATOR_REGISTRY, SubnetEvaluator, build_evaluator
from crnas_d2.modeling import find_supernet
from crnas_d2.search import Stopped
from crnas_d2.space import Genotype, SearchSpace

from .found_network import calibration

logger = logging.getLogger(__name__)

_IMAGES = 100  # of archval
_NOTHING = 0.5  # percent AP, below which all differences are noise


def check_trained_supernet(cfg: CfgNode, model: nn.Module) -> None:
    """Score one sampled subnet after a training, maybe on several processes; keep the model."""
    supernet = find_supernet(model)
    if supernet is None or not supernet.has_paths or not _has_detections(cfg):
        return
    cfg = without_sync(cfg)
    alone = Trainer.build_model(cfg)
    alone.load_state_dict(model.state_dict())
    check_detects(cfg, alone, supernet.space.sample(Random(max(cfg.SEED, 0))))


def check_detects(cfg: CfgNode, model: nn.Module, genotype: Genotype) -> str:
    """Score one subnet on a part of archval, on this process alone; log the score.

    Return a warning, which has been logged, if a detector detects next to nothing, else "".
    """
    if not _has_detections(cfg):
        return ""
    name = cfg.DATASETS.ARCHVAL[0]
    batches = build_fixed_batches(cfg, (name,), num_images=_IMAGES)
    ids = [image["image_id"] for batch in batches for image in batch]
    evaluator = build_evaluator(cfg, name, in_search=True, image_ids=ids)
    metrics = SubnetEvaluator(model, batches, evaluator, calibration(cfg))(genotype)
    assert not isinstance(metrics, Stopped)
    score = metrics.get(cfg.SEARCH.METRIC, float("nan"))
    found = f"{genotype} has {cfg.SEARCH.METRIC} {score:.2f} on {len(ids)} images of {name}"
    if score >= _NOTHING:
        logger.info("One network scored: %s.", found)
        return ""
    warning = (
        f"One network scored: {found}. It detects next to nothing, so this search only compares "
        "noise: stop it. Train longer (SOLVER.MAX_ITER) or from better weights (MODEL.WEIGHTS); if "
        "the losses did not fall, change SOLVER.BASE_LR."
    )
    logger.warning(warning)
    return warning


def base_network(space: SearchSpace) -> Genotype:
    """Return the deepest network with the first operations, e.g. the detector that is inherited."""
    options = {
        choice.name: (max if choice.field == "depths" else min)(choice.options)
        for choice in space.choices
    }
    return space.genotype(space.active(options))


def _has_detections(cfg: CfgNode) -> bool:
    kinds = [MetadataCatalog.get(name).get("evaluator_type") for name in cfg.DATASETS.ARCHVAL]
    is_known = len(kinds) == 1 and kinds[0] in EVALUATOR_REGISTRY
    return is_known and bool(EVALUATOR_REGISTRY.get(kinds[0]).scores_detections)
