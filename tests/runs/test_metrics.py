"""Metrics belong to the weights that were evaluated, and to no others."""

import json

import pytest

from crnas_d2.checkpoint import write_weights
from crnas_d2.config import load_config
from crnas_d2.runs.metrics import TrainingMetrics, metrics_of

STEP = {"total_loss": 1.0, "fast_rcnn/cls_accuracy": 0.5}


def evaluated(iteration, ap, **step):
    return {"iteration": iteration, "bbox/AP": ap, "bbox/AP50": ap + 1, **step}


# A training of 40 iterations that is evaluated after each 20.
MIDDLE, LAST = evaluated(19, 10.0, **STEP), evaluated(40, 20.0)
WHOLE = [MIDDLE, {"iteration": 39, **STEP}, LAST]


@pytest.fixture
def leave(tmp_path):
    """Leaves a training with entries in its log and steps in its final weights."""

    def leave(entries, steps=40):
        (tmp_path / "metrics.json").write_text("".join(f"{json.dumps(e)}\n" for e in entries))
        if steps:
            write_weights({"model": {}, "iteration": steps - 1}, tmp_path / "model_final.pth")
        return tmp_path

    return leave


@pytest.mark.parametrize(
    ("entries", "steps", "score"),
    [
        (WHOLE, 40, 20.0),
        (WHOLE, 20, 10.0),  # of the weights in the middle, though there are later ones
        (WHOLE, 10, None),
        (WHOLE, 41, None),
        (WHOLE[:2], 40, None),  # killed before the last evaluation
        ([*WHOLE, evaluated(19, 11.0), evaluated(40, 21.0)], 40, 21.0),  # trained again
        # Extended, and evaluated after 41 steps.
        ([*WHOLE[:2], evaluated(40, 30.0, **STEP)], 40, None),
        ([*WHOLE[:2], evaluated(40, 30.0, **STEP)], 41, 30.0),
        ([*WHOLE[:2], {"iteration": 59, **STEP}, evaluated(40, 30.0)], 41, 30.0),
        ([*WHOLE, {"iteration": 59, **STEP}], 40, 20.0),
    ],
)
def test_metrics_are_those_of_the_weights(leave, entries, steps, score):
    folder = leave(entries, steps=0)
    found = TrainingMetrics.read(folder).after(steps)
    assert found == (None if score is None else {"bbox/AP": score, "bbox/AP50": score + 1})
    checkpoint = folder / f"model_{steps - 1:07d}.pth"
    write_weights({"model": {}, "iteration": steps - 1}, checkpoint)
    assert metrics_of(checkpoint) == found


def test_weights_that_say_nothing_have_no_metrics(leave, tmp_path):
    folder = leave([*WHOLE[:2], evaluated(40, float("nan"))])
    assert metrics_of(folder / "model_final.pth") == {"bbox/AP": None, "bbox/AP50": None}
    write_weights({"model": {}}, folder / "model_best.pth")
    assert metrics_of(folder / "model_best.pth") is None
    assert metrics_of("detectron2://ImageNetPretrained/MSRA/R-50.pkl") is None
    (folder / "provenance.json").write_text('{"metrics": {"bbox/AP": 7.0}}')
    assert metrics_of(folder / "model.pth") == {"bbox/AP": 7.0}


@pytest.mark.parametrize(
    ("entries", "steps", "max_iter", "message"),
    [
        ([{"iteration": 19, **STEP}], 40, 40, "holds no bbox/AP"),
        (WHOLE[:2], 40, 40, "40 of 40 iterations .* came after 20"),
        # Extended, and killed before or after something was logged.
        (WHOLE, 40, 80, "unfinished training: 40 of 80 iterations.*--resume"),
        ([*WHOLE, {"iteration": 59, **STEP}], 40, 80, "40 of 80 iterations"),
        (WHOLE, 0, 40, r"unfinished training, without model_final\.pth"),
    ],
)
def test_an_unfinished_training_has_no_final_metrics(leave, entries, steps, max_iter, message):
    cfg = load_config("", ["SOLVER.MAX_ITER", str(max_iter), "MODEL.DEVICE", "cpu"])
    with pytest.raises(ValueError, match=message):
        TrainingMetrics.read(leave(entries, steps)).final(cfg, "bbox/AP")


def test_a_finished_training_has_final_metrics(leave, tmp_path):
    with pytest.raises(ValueError, match=r"metrics\.json is missing"):
        TrainingMetrics.read(tmp_path)
    cfg = load_config("", ["SOLVER.MAX_ITER", "40", "MODEL.DEVICE", "cpu"])
    log = leave(WHOLE) / "metrics.json"
    log.write_text(log.read_text() + '{"iteration": 41, "total_l')  # cut off
    expected = {"bbox/AP": 20.0, "bbox/AP50": 21.0}
    assert TrainingMetrics.read(tmp_path).final(cfg, "bbox/AP") == expected
    # Other numbers of processes have other numbers of iterations.
    cfg.SOLVER.MAX_ITER, cfg.SOLVER.REFERENCE_WORLD_SIZE = 80, 8
    assert TrainingMetrics.read(tmp_path).final(cfg, "bbox/AP") == expected
