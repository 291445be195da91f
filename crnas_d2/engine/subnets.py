"""The subnets of a trained supernet: their images and their weights."""

from contextlib import nullcontext
from pathlib import Path

from detectron2.config import CfgNode
from torch import nn

from crnas_d2 import checkpoint
from crnas_d2.checkpoint import describe_network
from crnas_d2.config import spell
from crnas_d2.config.image_size import at_image_size
from crnas_d2.data import CLASSES, class_record, fixed_images, match_classes
from crnas_d2.engine import Trainer
from crnas_d2.modeling import find_supernet
from crnas_d2.modeling.anchors import anchors_of
from crnas_d2.space import Genotype

from .found_network import calibration, calibration_images


def load_supernet(cfg: CfgNode) -> nn.Module:
    """Build the supernet of a config and load its trained weights.

    With ``MODEL.INHERIT`` they may be those of a trained base network, whose blocks all networks
    of the space take over. The datasets get the order of classes of the weights.

    Raises:
        ValueError: the weights do not fit, leave a part of the supernet untrained, or have other
            classes than the datasets.
    """
    model, network = Trainer.build_model(cfg), describe_network(cfg)
    names = (*cfg.DATASETS.TRAIN, *cfg.DATASETS.ARCHVAL)
    if not cfg.MODEL.INHERIT:
        content = checkpoint.StrictCheckpointer(model, network=network).load(cfg.MODEL.WEIGHTS)
        match_classes(names, content.get(CLASSES), cfg.MODEL.WEIGHTS)
        return model
    checkpointer = checkpoint.TrainingCheckpointer(model, inherit=True, network=network)
    content = checkpointer.load(cfg.MODEL.WEIGHTS)
    match_classes(names, content.get(CLASSES), cfg.MODEL.WEIGHTS)
    weights = f"MODEL.WEIGHTS {cfg.MODEL.WEIGHTS}"
    if checkpointer.other_settings:
        raise ValueError(
            f"{weights} were trained with other settings, so the scores would be wrong. Add the "
            f"overrides {checkpointer.other_settings}"
        )
    if untrained := checkpointer.matched.untrained:
        raise ValueError(
            f"{weights} lack {len(untrained)} parts of this supernet: {', '.join(untrained[:3])}"
            f"{', ...' if len(untrained) > 3 else ''}. Train the supernet from them first "
            f"({spell('train')} with this config), or leave out the options that need them."
        )
    return model


def save_subnet(cfg: CfgNode, model: nn.Module, genotype: Genotype, path: Path) -> None:
    """Write the weights that a network has in a supernet, with its own BN statistics."""
    supernet = find_supernet(model)
    assert supernet is not None and supernet.has_paths
    supernet.set_path(genotype)
    cfg = at_image_size(cfg, *genotype.image_size) if genotype.image_size else cfg
    with anchors_of(model, cfg) if genotype.image_size else nullcontext(), calibration(cfg)(model):
        weights = checkpoint.subnet_state_dict(model, genotype)
        network = describe_network(cfg, genotype)
        content = {"model": weights, "network": network, **class_record(cfg)}
        checkpoint.write_weights(content, str(path))


def image_files(cfg: CfgNode) -> dict[str, list[str]]:
    """Return the files of the images on which a score depends: of archval, of the calibration."""
    return {
        "archval": [d["file_name"] for d in fixed_images(cfg, cfg.DATASETS.ARCHVAL)],
        "calibration": [d["file_name"] for d in fixed_images(cfg, **calibration_images(cfg))],
    }
