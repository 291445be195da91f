"""What really runs, said at the start."""

import toy

from crnas_d2 import run_training
from crnas_d2.engine import Trainer
from crnas_d2.engine.log import training_summary

NETWORK = {"MODEL.GENOTYPE.DEPTHS": [1, 1, 1, 1]}


def test_a_training_says_what_runs_after_it_was_scaled(toy_datasets, tmp_path):
    settings = {
        "SOLVER.REFERENCE_WORLD_SIZE": 2,
        "SOLVER.IMS_PER_BATCH": 8,
        "SOLVER.MAX_ITER": 3,
        "SOLVER.WARMUP_ITERS": 2,
        "SOLVER.BASE_LR": 0.04,
        "SOLVER.LR_SCHEDULER_NAME": "WarmupMultiStepLR",
        "SOLVER.STEPS": (2, 9),
        "SEED": 5,
        "OUTPUT_DIR": str(tmp_path),
    }
    run_training(toy.network_config(toy_datasets, NETWORK, settings))
    log = (tmp_path / "log.txt").read_text()
    for line in (
        "processes: 1 on cpu",
        "images per step: 4 (4 per process)",
        "iterations: 6, 2 epochs of 12 images",
        "learning rate: 0.02, WarmupMultiStepLR, times 0.1 at 4",
        "warm-up: 4 iterations",
        "seed: 5",
        "starts from: random weights",
        "scaled from SOLVER.REFERENCE_WORLD_SIZE 2, for which the config says 8 images per step, 3 "
        "iterations, learning rate 0.04, warm-up 2; set it to 1 to run these",
    ):
        assert f"\n  {line}\n" in log, line
    assert log.index("What runs:") < log.index("Starting training")


def test_what_is_not_scaled_or_not_seeded_is_said_too():
    cfg = toy.network_config(
        {"SOLVER.LR_SCHEDULER_NAME": "WarmupCosineLR", "MODEL.WEIGHTS": "a.pth", "SEED": -1}
    )
    lines = training_summary(cfg, Trainer.auto_scale_workers(cfg, 1), [None] * 4)
    assert "iterations: 6, 3 epochs of 4 images" in lines
    assert "learning rate: 0.04, WarmupCosineLR to 0" in lines
    assert "seed: none (SEED -1), so that no two runs are alike" in lines
    assert lines[-1] == "starts from: a.pth"
    assert "iterations: 6" in training_summary(cfg, cfg, None)
    assert training_summary(cfg, cfg, None, start=3)[-1] == "starts from: iteration 3"


def test_micro_batches_and_the_precision_are_named(toy_datasets):
    cfg = toy.network_config(toy_datasets, {"SOLVER.IMS_PER_BATCH": 8})
    cfg.SOLVER.GRADIENT_ACCUMULATION, cfg.SOLVER.AMP.ENABLED = 4, True
    cfg.SOLVER.AMP.PRECISION = "bfloat16"
    lines = training_summary(cfg, cfg, None)
    assert "images per step: 8 (8 per process, in 4 micro-batches)" in lines
    assert "processes: 1 on cpu, mixed precision with bfloat16" in lines
