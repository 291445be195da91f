"""A killed and resumed training equals the uninterrupted one, bit for bit."""

import os
import shutil
from pathlib import Path

import channel_toy
import numpy as np
import pytest
import search_toy
import torch
import toy
from detectron2.engine import HookBase
from search_toy import Killed, assert_same, check_resumed

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
DECODED = {**channel_toy.BASE, "MODEL.GENOTYPE.CHANNELS": channel_toy.CHANNELS}


class Kill(HookBase):
    """Ends the training after a step, and draws numbers that are none of its business."""

    def __init__(self, after):
        self.after = after

    def after_step(self):
        torch.rand(1), np.random.rand()
        if self.trainer.iter == self.after:
            raise Killed


def train(cfg, *, kill=None, resume=False, seed=0):
    return search_toy.train(cfg, Kill(kill), resume=resume, seed=seed)


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
        (toy.supernet_config, {"SOLVER.GRADIENT_ACCUMULATION": 2}, 3),
        (toy.network_config, {**NETWORK, **TESTED}, 3),
        (toy.network_config, {**NETWORK, **FLIPS}, 2),
        (toy.network_config, {**NETWORK, "DATALOADER.IMAGE_CACHE": 0.0}, 3),
        (toy.network_config, {**NETWORK, **RETINANET}, 3),
        (toy.network_config, {**NETWORK, **PRECISE}, 3),
        (toy.network_config, DECODED, 3),
    ],
    ids=[
        *("supernet", "prefix", "accumulation", "tested", "flips", "no cache", "retinanet"),
        *("precise bn", "decoded"),
    ],
)
def test_a_resumed_training_is_the_uninterrupted_one(build, settings, kill, toy_datasets, tmp_path):
    cfg = build(toy_datasets, settings)
    checkpoint = train_at_once_and_resumed(cfg, tmp_path, kill)
    assert checkpoint["trainer"]["_trainer"]["loader"]["position"] == cfg.SOLVER.MAX_ITER == 6
    assert ("loss_normalizer" in checkpoint["trainer"]) == ("RetinaNet" in str(settings))


@pytest.fixture(scope="module")
def finished(toy_datasets, tmp_path_factory):
    """The config of a finished training whose last checkpoint is as late as it can be."""
    cfg = toy.network_config(toy_datasets, NETWORK, {"SOLVER.MAX_ITER": 4})
    cfg.SOLVER.CHECKPOINT_PERIOD = 2
    cfg.OUTPUT_DIR = str(tmp_path_factory.mktemp("finished") / "run")
    train(cfg)
    return cfg


@pytest.fixture
def copied(finished, tmp_path):
    cfg = finished.clone()
    cfg.OUTPUT_DIR = str(tmp_path / "a?b%20")
    shutil.copytree(finished.OUTPUT_DIR, cfg.OUTPUT_DIR)
    return cfg, Path(cfg.OUTPUT_DIR)


def remove(file):
    file.unlink()
    (file.parent / "last_checkpoint").write_text("model_0000003.pth")


def zeros_inside(file):
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 999] = bytes(999)
    file.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        remove,
        lambda file: file.write_bytes(file.read_bytes()[:-9000]),
        lambda file: file.write_bytes(b""),
        zeros_inside,
    ],
    ids=["killed before it", "truncated", "empty", "zeros inside"],
)
def test_the_final_file_is_written_again(damage, finished, copied, caplog):
    cfg, folder = copied
    damage(folder / "model_final.pth")
    trainer = train(cfg, resume=True, seed=9)
    assert trainer.start_iter == 4
    finals = (Path(place) / "model_final.pth" for place in (folder, finished.OUTPUT_DIR))
    assert_same(*(torch.load(file, weights_only=True) for file in finals))
    assert (folder / "last_checkpoint").read_text() == "model_final.pth"
    assert (damage is remove) != ("Trying the checkpoint before it" in caplog.text)


def test_of_damaged_checkpoints_the_newest_whole_one_is_resumed(finished, copied, caplog):
    cfg, folder = copied
    for name in ("model_final.pth", "model_0000003.pth"):
        (folder / name).write_bytes((folder / name).read_bytes()[:5000])
    (folder / "last_checkpoint").write_text("")
    trainer = train(cfg, resume=True, seed=9)
    assert trainer.start_iter == 2
    finals = (Path(place) / "model_final.pth" for place in (folder, finished.OUTPUT_DIR))
    assert_same(*(torch.load(file, weights_only=True) for file in finals))
    assert "model_0000003.pth" in caplog.text


def test_what_is_written_after_a_damaged_file_is_kept(copied):
    cfg, folder = copied
    (folder / "model_0000009.pth").write_text("damaged")
    (folder / "last_checkpoint").write_text("model_0000009.pth")
    (folder / "model_final.pth").unlink()
    cfg.SOLVER.CHECKPOINT_PERIOD = cfg.SOLVER.CHECKPOINT_MAX_TO_KEEP = 1
    cfg.SOLVER.MAX_ITER = 8
    train(cfg, resume=True, kill=5)
    assert (folder / "last_checkpoint").read_text() == "model_0000005.pth"
    assert train(cfg, resume=True).start_iter == 6


def test_without_a_whole_checkpoint_nothing_is_resumed(copied):
    cfg, folder = copied
    for file in folder.glob("*.pth"):
        file.write_text("not weights")
    words = r"has no whole checkpoint, model_final\.pth, model_0000003\.pth, model_0000001\.pth"
    with pytest.raises(ValueError, match=words):
        train(cfg, resume=True)


def test_a_finished_training_is_not_written_again(copied):
    cfg, folder = copied
    before = {file: file.stat().st_mtime_ns for file in folder.glob("*.pth")}
    train(cfg, resume=True)
    assert {file: file.stat().st_mtime_ns for file in folder.glob("*.pth")} == before


@pytest.mark.parametrize("keep", [0, 1, 2])
def test_old_checkpoints_are_limited_over_restarts(keep, toy_datasets, tmp_path):
    cfg = toy.network_config(toy_datasets, NETWORK)
    cfg.SOLVER.CHECKPOINT_PERIOD = 1
    cfg.SOLVER.CHECKPOINT_MAX_TO_KEEP = keep
    cfg.OUTPUT_DIR = str(tmp_path)
    train(cfg, kill=2)
    (tmp_path / "model_0000009.pth.partial").write_text("of a process that was killed")
    train(cfg, resume=True)
    expected = [f"model_{iteration:07d}.pth" for iteration in range(6)][-keep:]
    assert sorted(file.name for file in tmp_path.glob("model_*")) == [*expected, "model_final.pth"]


def test_a_checkpoint_that_cannot_be_written_changes_nothing(copied, monkeypatch):
    cfg, folder = copied
    trainer = Trainer(cfg)
    before = {file.name: file.read_bytes() for file in folder.glob("*")}
    monkeypatch.setattr(os, "replace", lambda *_: os.stat("/no/such"))
    with pytest.raises(OSError, match=r"model_final\.pth"):
        trainer.checkpointer.save("model_final")
    assert {file.name: file.read_bytes() for file in folder.glob("*.pth*")} == {
        name: content for name, content in before.items() if name.endswith(".pth")
    }


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"MODEL.PIXEL_STD": [2.0, 1.0, 1.0]}, r'resume it with MODEL\.PIXEL_STD "\[1\.0, 1\.0'),
        (
            {"MODEL.GENOTYPE.OPS": [0, 0, 1, 0, 0]},
            r'resume it with MODEL\.GENOTYPE\.OPS "\[0, 0, 0',
        ),
        ({"MODEL.FPN.OUT_CHANNELS": 8}, "holds the training of another network"),
    ],
)
def test_the_training_of_another_network_is_not_resumed(settings, words, copied):
    cfg, _ = copied
    cfg.merge_from_list(toy.as_list(settings))
    with pytest.raises(ValueError, match=words):
        train(cfg, resume=True)


def test_with_workers_too(toy_datasets, tmp_path):
    settings = {**FLIPS, "DATALOADER.NUM_WORKERS": 2}
    train_at_once_and_resumed(toy.network_config(toy_datasets, NETWORK, settings), tmp_path)


def test_a_classifier_too(tmp_path, registered):
    toy.make_image_folder(tmp_path / "data", 3, seed=0)
    register_image_folders([["toy_folder", str(tmp_path / "data")]])
    cfg = toy.classifier_config({"DATASETS.TRAIN": ("toy_folder",), "DATASETS.TEST": ()})
    train_at_once_and_resumed(cfg, tmp_path)
