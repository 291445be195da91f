"""Trainings that are killed at any moment, as processes; resumed, they equal uninterrupted ones."""

import time
from random import Random

import pytest
import search_toy
import toy
from scripts import run, start

SETTINGS = {"SOLVER.MAX_ITER": 60, "SOLVER.CHECKPOINT_PERIOD": 7, "SOLVER.MOMENTUM": 0.9}
FLIPS = {"INPUT.RANDOM_FLIP": "horizontal", "INPUT.MIN_SIZE_TRAIN": (48, 64)}
KINDS = {
    "supernet": (toy.SUPERNET, [toy.TINY, toy.STAGE_SPACE]),
    "network": (toy.SEARCHED, [toy.TINY, FLIPS, {"MODEL.GENOTYPE.DEPTHS": [1, 1, 2, 1]}]),
}


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
    for _ in range(4):
        process = start("train_net.py", config, "--resume", opts=opts)
        # Most of the time is that of the start.
        time.sleep(random.uniform(0.5, 1.0) * seconds)
        process.kill()
        process.communicate()
    run("train_net.py", config, "--resume", opts=opts)
    search_toy.check_resumed(tmp_path)
