import math

import pytest
import torch
import toy
from detectron2.engine import HookBase
from hypothesis import given
from hypothesis import strategies as st
from search_toy import Killed
from search_toy import train as train_with

from crnas_d2.engine import Trainer
from crnas_d2.engine.checks import check_config
from crnas_d2.engine.solver import build_lr_scheduler

MAX_ITER, WARMUP, FACTOR, START, END = 20, 4, 0.1, 0.04, 0.002
SOLVER = {
    "SOLVER.BASE_LR": START,
    "SOLVER.BASE_LR_END": END,
    "SOLVER.MAX_ITER": MAX_ITER,
    "SOLVER.STEPS": (10, 16),
    "SOLVER.GAMMA": 0.1,
    "SOLVER.WARMUP_ITERS": WARMUP,
    "SOLVER.WARMUP_FACTOR": FACTOR,
    "SOLVER.WARMUP_METHOD": "linear",
}
CURVES = {
    "WarmupMultiStepLR": lambda t: START * 0.1 ** ((t >= 10) + (t >= 16)),
    "WarmupCosineLR": lambda t: END + (START - END) * (1 + math.cos(math.pi * t / MAX_ITER)) / 2,
    "WarmupLinearLR": lambda t: START + (END - START) * t / MAX_ITER,
}


def expected(name, iteration, warmup=WARMUP):
    """The rate of an iteration: the curve, reached by a straight line from FACTOR * START."""
    if iteration >= warmup:
        return CURVES[name](iteration)
    share = iteration / warmup
    return FACTOR * START * (1 - share) + CURVES[name](warmup) * share


def curve(cfg):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=cfg.SOLVER.BASE_LR)
    scheduler = build_lr_scheduler(cfg, optimizer)
    rates = []
    for _ in range(cfg.SOLVER.MAX_ITER):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


class Rates(HookBase):
    """Records the learning rate of every step; may stop the training after one."""

    def __init__(self, killed_after=None):
        self.seen = []
        self.killed_after = killed_after

    def before_step(self):
        self.seen.append(self.trainer.optimizer.param_groups[0]["lr"])

    def after_step(self):
        if self.trainer.iter == self.killed_after:
            raise Killed


def train(cfg, resume=False, killed_after=None):
    rates = Rates(killed_after)
    train_with(cfg, rates, resume=resume)
    return rates.seen


@pytest.mark.parametrize("warmup", [0, WARMUP])
@pytest.mark.parametrize("name", CURVES)
def test_the_rate_follows_its_formula(name, warmup):
    overrides = {"SOLVER.LR_SCHEDULER_NAME": name, "SOLVER.WARMUP_ITERS": warmup}
    cfg = toy.network_config(SOLVER, overrides)
    assert curve(cfg) == pytest.approx([expected(name, t, warmup) for t in range(MAX_ITER)])


@pytest.mark.parametrize("name", CURVES)
def test_a_resumed_training_goes_on_at_the_same_rates(name, toy_datasets, tmp_path):
    overrides = {
        "SOLVER.LR_SCHEDULER_NAME": name,
        "SOLVER.IMS_PER_BATCH": 1,
        "SOLVER.CHECKPOINT_PERIOD": 7,
        "OUTPUT_DIR": str(tmp_path),
    }
    cfg = toy.supernet_config(toy_datasets, SOLVER, overrides)
    seen = train(cfg, killed_after=6) + train(cfg, resume=True)
    assert seen == pytest.approx([expected(name, t) for t in range(MAX_ITER)])


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            {"SOLVER.LR_SCHEDULER_NAME": "WarmupPolyLR"},
            "'WarmupPolyLR'.*WarmupMultiStepLR, WarmupCosineLR, WarmupLinearLR",
        ),
        (
            {"SOLVER.LR_SCHEDULER_NAME": "WarmupLinearLR", "SOLVER.BASE_LR_END": 0.1},
            r"BASE_LR_END is 0\.1, but WarmupLinearLR .* SOLVER\.BASE_LR, which is 0\.04",
        ),
        ({"SOLVER.WARMUP_METHOD": "exp"}, "WARMUP_METHOD is 'exp'.*constant.*linear"),
    ],
    ids=["name", "end", "warm-up"],
)
def test_a_schedule_that_cannot_be_followed_is_refused_before_training(overrides, words):
    cfg = toy.network_config(SOLVER, overrides)
    with pytest.raises(ValueError, match=words):
        check_config(cfg, [])
    with pytest.raises(ValueError, match=words):
        curve(cfg)


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("processes", [1, 4])
def test_another_number_of_processes_keeps_the_rate_per_image(name, processes):
    overrides = {
        "SOLVER.LR_SCHEDULER_NAME": name,
        "SOLVER.REFERENCE_WORLD_SIZE": 2,
        "SOLVER.IMS_PER_BATCH": 4,
        "SOLVER.CHECKPOINT_PERIOD": 10,
        "TEST.EVAL_PERIOD": 20,
    }
    reference = toy.network_config(SOLVER, overrides)
    reference.freeze()
    scaled = Trainer.auto_scale_workers(reference, processes)
    factor = processes / 2
    assert scaled.is_frozen() and reference.SOLVER.BASE_LR_END == END
    solver = scaled.SOLVER
    periods = solver.CHECKPOINT_PERIOD, scaled.TEST.EVAL_PERIOD
    assert 4 * factor == solver.IMS_PER_BATCH
    assert MAX_ITER / factor == solver.MAX_ITER
    assert (10 / factor, 16 / factor) == solver.STEPS
    assert WARMUP / factor == solver.WARMUP_ITERS
    assert periods == (10 / factor, 20 / factor)
    # Adam moves alpha by about its rate in each step, and as far in total.
    alpha, before = solver.ALPHA, reference.SOLVER.ALPHA
    assert alpha.START == before.START
    total = alpha.BASE_LR * solver.MAX_ITER
    assert total == pytest.approx(before.BASE_LR * MAX_ITER) and 0.01 * factor == alpha.BASE_LR
    # After as many images, as much per image, from the first iteration to the last.
    per_image = [rate / solver.IMS_PER_BATCH for rate in curve(scaled)]
    for iteration in range(0, MAX_ITER, 2):
        assert per_image[int(iteration / factor)] == pytest.approx(expected(name, iteration) / 4)


WHOLE = st.integers(1, 40)


@given(
    periods=st.tuples(WHOLE, WHOLE, st.integers(0, 40)),
    steps=st.lists(WHOLE, unique=True, max_size=3).map(sorted),
    processes=st.tuples(st.integers(1, 16), st.integers(1, 64)),
)
def test_no_period_is_scaled_to_0_which_would_mean_never(periods, steps, processes):
    iterations, checkpoint, evaluation = periods
    reference, number = processes
    overrides = {
        "SOLVER.REFERENCE_WORLD_SIZE": reference,
        "SOLVER.IMS_PER_BATCH": reference,
        "SOLVER.MAX_ITER": iterations,
        "SOLVER.STEPS": steps,
        "SOLVER.CHECKPOINT_PERIOD": checkpoint,
        "TEST.EVAL_PERIOD": evaluation,
    }
    scaled = Trainer.auto_scale_workers(toy.network_config(overrides), number)
    solver, factor = scaled.SOLVER, number / reference

    def shrunk(value):
        return max(1, round(value / factor)) if value else 0

    assert shrunk(iterations) == solver.MAX_ITER
    assert shrunk(checkpoint) == solver.CHECKPOINT_PERIOD
    assert shrunk(evaluation) == scaled.TEST.EVAL_PERIOD
    assert tuple(map(shrunk, steps)) == tuple(solver.STEPS)


def test_without_a_reference_nothing_is_scaled():
    cfg = toy.network_config(SOLVER)
    assert Trainer.auto_scale_workers(cfg, 4) is cfg


def test_a_trainer_scales_its_batch_and_its_schedule(toy_datasets, tmp_path):
    # A config for two processes, in one.
    overrides = {
        "SOLVER.LR_SCHEDULER_NAME": "WarmupLinearLR",
        "SOLVER.REFERENCE_WORLD_SIZE": 2,
        "SOLVER.IMS_PER_BATCH": 4,
        "OUTPUT_DIR": str(tmp_path),
    }
    cfg = toy.supernet_config(toy_datasets, SOLVER, overrides)
    trainer = Trainer(cfg)
    assert trainer.max_iter == 2 * MAX_ITER
    assert len(next(iter(trainer.data_loader))) == 2
    rates = train(cfg, killed_after=11)
    assert rates == pytest.approx([expected("WarmupLinearLR", t / 2) / 2 for t in range(12)])
