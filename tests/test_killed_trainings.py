"""Trainings that are killed at any moment, as processes; resumed, they equal uninterrupted ones."""

import contextlib
import time
from random import Random

import pytest
import search_toy
import torch
import toy
from detectron2.engine import HookBase, launch
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from scripts import run, start

from crnas_d2.data import register_coco_format
from crnas_d2.engine import Trainer
from crnas_d2.engine.checks import has_checkpoint

SETTINGS = {"SOLVER.MAX_ITER": 60, "SOLVER.CHECKPOINT_PERIOD": 7, "SOLVER.MOMENTUM": 0.9}
FLIPS = {"INPUT.RANDOM_FLIP": "horizontal", "INPUT.MIN_SIZE_TRAIN": (48, 64)}
KINDS = {
    "supernet": (toy.SUPERNET, [toy.TINY, toy.STAGE_SPACE]),
    "network": (toy.SEARCHED, [toy.TINY, FLIPS, {"MODEL.GENOTYPE.DEPTHS": [1, 1, 2, 1]}]),
}


def train_on_a_rank(cfg, datasets, kill, resume):
    """Train in one of two processes, which have other generators at each start."""
    torch.set_num_threads(1)
    register_coco_format(datasets)
    seed_all_rng(100 * resume + comm.get_rank())
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=resume)
    trainer.register_hooks([Kill(kill)])
    with contextlib.suppress(search_toy.Killed):
        trainer.train()


class Kill(HookBase):
    def __init__(self, after):
        self.after = after

    def after_step(self):
        if self.trainer.iter == self.after:
            comm.synchronize()  # the first rank alone writes checkpoints
            raise search_toy.Killed


@pytest.mark.slow
def test_of_two_processes_each_goes_on_with_its_own_numbers(toy_datasets, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    settings = {"SOLVER.IMS_PER_BATCH": 4, "SOLVER.CHECKPOINT_PERIOD": 2}
    cfg = toy.supernet_config(toy_datasets, FLIPS, settings)
    for name, kill, resume in (("whole", None, 0), ("killed", 3, 0), ("killed", None, 1)):
        cfg.OUTPUT_DIR = str(tmp_path / name)
        arguments = (cfg.clone(), toy_datasets["DATASETS.COCO_FORMAT"], kill, resume)
        launch(train_on_a_rank, 2, dist_url="auto", args=arguments)
    states = search_toy.check_resumed(tmp_path)["trainer"]["hooks"]["ContinuedRandomness"]["states"]
    assert len(states) == 2 and not torch.equal(states[0]["torch"], states[1]["torch"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["supernet", "network"])
def test_kills_at_random_moments_change_nothing(kind, toy_datasets, tmp_path):
    config, settings = KINDS[kind]
    whole = toy.as_arguments(*settings, toy_datasets, SETTINGS, {"OUTPUT_DIR": tmp_path / "whole"})
    began = time.time()
    run("train_net.py", config, opts=whole)
    seconds = time.time() - began
    opts = toy.as_arguments(*settings, toy_datasets, SETTINGS, {"OUTPUT_DIR": tmp_path / "killed"})
    random = Random(7)

    def resume():  # where the first checkpoint was not reached, the training begins anew
        return ["--resume"] if has_checkpoint(tmp_path / "killed") else []

    for _ in range(4):
        process = start("train_net.py", config, *resume(), opts=opts)
        # Most of the time is that of the start.
        time.sleep(random.uniform(0.5, 1.0) * seconds)
        process.kill()
        process.communicate()
    run("train_net.py", config, *resume(), opts=opts)
    search_toy.check_resumed(tmp_path)
