"""Finished trainings of toy detectors, for what comes after them."""

import logging
from pathlib import Path

import toy

from crnas_d2 import run_training

# All that it detects, which after two steps is of low scores.
SETTINGS = {
    "MODEL.GENOTYPE.DEPTHS": [1, 2, 1, 1],
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.0,
    "SOLVER.MAX_ITER": 2,
    "SEARCH.COST_INPUT_SIZE": [toy.SIZE, toy.SIZE],
    "SEED": 1,
}


def train(folder, datasets, *overrides) -> Path:
    """Trains two steps, tests on six images; returns OUTPUT_DIR."""
    settings = {**SETTINGS, "DATASETS.TEST": ("toy_test",), "OUTPUT_DIR": str(folder)}
    cfg = toy.network_config(datasets, settings, *overrides)
    cfg.freeze()
    run_training(cfg)
    for name in ("detectron2", "fvcore", "crnas_d2"):  # log.txt belongs to this run
        logging.getLogger(name).handlers.clear()
    return Path(folder)
