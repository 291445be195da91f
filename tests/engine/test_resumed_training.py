"""A killed and resumed training equals the uninterrupted one, bit for bit."""

import contextlib

import numpy as np
import pytest
import torch
import toy
from detectron2.engine import HookBase
from search_toy import Killed, check_resumed

from crnas_d2.data import register_image_folders
from crnas_d2.engine import Trainer

NETWORK = {"MODEL.GENOTYPE.DEPTHS": [1, 1, 2, 1], "SOLVER.MOMENTUM": 0.9}
FLIPS = {"INPUT.RANDOM_FLIP": "horizontal", "INPUT.MIN_SIZE_TRAIN": (48, 64)}
RETINANET = {
    "MODEL.META_ARCHITECTURE": "RetinaNet",
    "MODEL.BACKBONE.NAME": "build_supernet_retinanet_fpn_backbone",
    "MODEL.RESNETS.OUT_FEATURES": ["res3", "res4", "res5"],
    "MODEL.FPN.IN_FEATURES": ["res3", "res4", "res5"],
    "MODEL.RETINANET.NUM_CLASSES": len(toy.CLASSES),
    "MODEL.RETINANET.NUM_CONVS": 1,
}
PRECISE = {"TEST.PRECISE_BN.ENABLED": True, "TEST.PRECISE_BN.NUM_ITER": 2, "TEST.EVAL_PERIOD": 1}
TESTED = {"DATASETS.TEST": ("toy_test",), "TEST.EVAL_PERIOD": 1}


class Kill(HookBase):
    """Ends the training after a step, and draws numbers that are none of its business."""

    def __init__(self, after):
        self.after = after

    def after_step(self):
        torch.rand(1), np.random.rand()
        if self.trainer.iter == self.after:
            raise Killed


def train(cfg, *, kill=None, resume=False, seed=0):
    torch.manual_seed(seed)
    np.random.seed(seed)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=resume)
    trainer.register_hooks([Kill(kill)])
    with contextlib.suppress(Killed):
        trainer.train()
    return trainer


def train_at_once_and_resumed(cfg, folder, kill=3):
    cfg.SOLVER.CHECKPOINT_PERIOD = 2
    cfg.OUTPUT_DIR = str(folder / "whole")
    train(cfg)
    cfg.OUTPUT_DIR = str(folder / "killed")
    train(cfg, kill=kill)
    # Other generators than at the beginning, as in another process.
    assert train(cfg, resume=True, seed=9).start_iter == (kill + 1) // 2 * 2
    return check_resumed(folder)


# Killed at a checkpoint, and between two.
@pytest.mark.parametrize(
    ("build", "settings", "kill"),
    [
        (toy.supernet_config, {}, 3),
        (toy.supernet_config, {**FLIPS, "MODEL.SUPERNET.SHARING": "prefix"}, 4),
        (toy.network_config, {**NETWORK, **TESTED}, 3),
        (toy.network_config, {**NETWORK, **FLIPS}, 2),
        (toy.network_config, {**NETWORK, "DATALOADER.IMAGE_CACHE": 0.0}, 3),
        (toy.network_config, {**NETWORK, **RETINANET}, 3),
        (toy.network_config, {**NETWORK, **PRECISE}, 3),
    ],
    ids=["supernet", "prefix", "tested", "flips", "no cache", "retinanet", "precise bn"],
)
def test_a_resumed_training_is_the_uninterrupted_one(build, settings, kill, toy_datasets, tmp_path):
    cfg = build(toy_datasets, settings)
    checkpoint = train_at_once_and_resumed(cfg, tmp_path, kill)
    assert checkpoint["trainer"]["loader"]["position"] == cfg.SOLVER.MAX_ITER == 6
    assert ("loss_normalizer" in checkpoint["trainer"]) == ("RetinaNet" in str(settings))


def test_with_workers_too(toy_datasets, tmp_path):
    settings = {**FLIPS, "DATALOADER.NUM_WORKERS": 2}
    train_at_once_and_resumed(toy.network_config(toy_datasets, NETWORK, settings), tmp_path)


def test_a_classifier_too(tmp_path, registered):
    toy.make_image_folder(tmp_path / "data", 3, seed=0)
    register_image_folders([["toy_folder", str(tmp_path / "data")]])
    cfg = toy.classifier_config({"DATASETS.TRAIN": ("toy_folder",), "DATASETS.TEST": ()})
    train_at_once_and_resumed(cfg, tmp_path)
