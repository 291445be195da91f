"""What a training or a search is estimated to take."""

import pytest
import toy
from detectron2.data import DatasetCatalog

from crnas_d2.engine import Trainer
from crnas_d2.engine.estimate import (
    Estimate,
    Speed,
    Work,
    budgeted_searcher,
    estimate_search,
    estimate_training,
    search_work,
    training_work,
)
from crnas_d2.engine.measured_speed import measure_speed

MIB = 2**20
SPEED = Speed(0.5, 0.1, base=100 * MIB, per_image=10 * MIB, checkpoint=50 * MIB, weights=30 * MIB)
UNKNOWN = Speed(None, None, base=None, per_image=None, checkpoint=50 * MIB, weights=30 * MIB)


def test_a_training_takes_its_images_its_batch_and_its_checkpoints():
    solver = {
        "SOLVER.MAX_ITER": 100,
        "SOLVER.IMS_PER_BATCH": 4,
        "SOLVER.CHECKPOINT_PERIOD": 10,
        "SOLVER.CHECKPOINT_MAX_TO_KEEP": 2,
    }
    found = estimate_training(toy.network_config(solver), SPEED)
    work = Work("100 iterations of 4 images", steps=100, trained=400)
    assert found == Estimate(work, 200.0, 140 * MIB, 4 * 50 * MIB)
    few = {**solver, "SOLVER.CHECKPOINT_PERIOD": 100}
    assert estimate_training(toy.network_config(few), SPEED).disk == 3 * 50 * MIB
    found = estimate_training(toy.network_config(solver), UNKNOWN)
    assert (found.seconds, found.memory, found.disk) == (None, None, 200 * MIB)


def test_alpha_is_trained_after_a_part_of_the_iterations():
    channels = {
        "SOLVER.MAX_ITER": 10,
        "SOLVER.ALPHA.START": 0.4,
        "MODEL.SUPERNET.SPACE": "channel",
        "MODEL.SUPERNET.PATH_SAMPLER": "alpha",
        "MODEL.SUPERNET.CHANNEL.NUM_GROUPS": 2,
    }
    weights_alone = 10 * 2 * SPEED.train
    assert estimate_training(toy.network_config(channels), SPEED).seconds == 1.6 * weights_alone


def test_a_search_takes_its_candidates_on_archval_and_on_the_calibration():
    found = estimate_search(toy.supernet_config(), SPEED, archval=12)
    seconds = len(toy.ELIGIBLE) * (12 + 8) * SPEED.infer
    work = Work("6 candidates on 12 images", scored=6 * (12 + 8), candidates=6)
    assert found == Estimate(work, seconds, 140 * MIB, found.disk)
    assert 30 * MIB < found.disk < 31 * MIB
    at_once = toy.supernet_config({"SEARCH.BN_CALIBRATION.IMS_PER_BATCH": 6})
    assert estimate_search(at_once, SPEED, archval=12).memory == 160 * MIB


def test_a_prefix_passes_archval_alone_or_with_its_calibration():
    settings = {
        "SEARCH.ALGORITHM": "greedy",
        "SEARCH.BUDGET.BLOCKS": [],
        "SEARCH.BN_CALIBRATION.PARTIAL": "batch",
        "SEARCH.IMS_PER_BATCH": 5,
    }
    cfg = toy.supernet_config(settings)
    searcher = budgeted_searcher(cfg)
    assert 0 < searcher.num_prefixes < searcher.total
    whole = searcher.total - searcher.num_prefixes
    assert search_work(cfg, 12).scored == searcher.total * 12 + whole * 8
    cfg.SEARCH.BN_CALIBRATION.PARTIAL = "calibration"
    of_prefixes = searcher.num_prefixes * 3 * 8  # for each of three mini-batches
    assert search_work(cfg, 12).scored == searcher.total * 12 + whole * 8 + of_prefixes


def test_a_score_without_images_passes_none_and_finalists_are_trained():
    cfg = toy.supernet_config({"SEARCH.SCORE": "entropy"})
    assert search_work(cfg, 12) == Work("6 candidates", candidates=6)
    cfg = toy.supernet_config({"SEARCH.FINALISTS.NUMBER": 2, "SEARCH.FINALISTS.MAX_ITER": 30})
    found = search_work(cfg, 12)
    assert (found.steps, found.trained) == (60, 60 * cfg.SOLVER.IMS_PER_BATCH)
    assert found.scored == 6 * (12 + 8) + 2 * 12


def test_a_network_is_tested_every_period_and_at_the_end_and_a_supernet_never():
    periods = {"SOLVER.MAX_ITER": 100, "TEST.EVAL_PERIOD": 40}
    assert training_work(toy.network_config(periods), 7).scored == 3 * 7
    periods["TEST.EVAL_PERIOD"] = 50
    assert training_work(toy.network_config(periods), 7).scored == 2 * 7
    assert training_work(toy.supernet_config(periods), 7).scored == 0


@pytest.mark.usefixtures("registered")
def test_a_measured_speed_is_that_of_the_model(toy_datasets):
    cfg = toy.supernet_config(toy_datasets)
    before = set(DatasetCatalog.list())
    found = measure_speed(cfg)
    assert 0 < found.train < 60 and 0 < found.infer < 60
    model = Trainer.build_model(cfg)
    assert found.weights == sum(t.nbytes for t in model.state_dict().values())
    assert found.weights < found.checkpoint < 2.1 * found.weights
    assert set(DatasetCatalog.list()) == before
