"""Trainings of supernets in mixed precision, on a CPU."""

import json
from functools import partial

import pytest
import search_toy
import torch
import toy
from detectron2.utils.env import seed_all_rng
from search_toy import check_resumed, train_at_once_and_resumed
from torch import nn

from crnas_d2.engine import Trainer


@pytest.fixture
def small_scales(monkeypatch):
    """The scale of the loss starts at 4 and doubles with every second step."""
    scaler = partial(torch.amp.GradScaler, init_scale=4.0, growth_interval=2)
    monkeypatch.setattr(torch.amp, "GradScaler", scaler)


def test_a_resumed_search_has_the_scales_and_the_weights_of_an_uninterrupted_one(
    small_scales, toy_datasets, tmp_path
):
    cfg = search_toy.config(toy_datasets, tmp_path, {"SOLVER.AMP.ENABLED": True})
    _, steps = train_at_once_and_resumed(cfg, killed_after=3)
    assert {precision for _, precision in steps.precisions} == {torch.float16}
    assert [name for name, changed in steps.changed if changed] == [n for n, _ in steps.precisions]

    halves = check_resumed(tmp_path)["trainer"]["_trainer"]
    scalers = [halves[name]["grad_scaler"] for name in ("weights", "alpha")]
    # Six steps of the weights, three of alpha.
    assert [(s["scale"], s["_growth_tracker"]) for s in scalers] == [(32.0, 0), (8.0, 1)]
    metrics = json.loads((tmp_path / "whole" / "metrics.json").read_text().splitlines()[-1])
    assert {"total_loss", "alpha/total_loss"} <= set(metrics)


def train(cfg, folder, **amp):
    """Trains from the same weights; returns the trainer and what convolutions computed in."""
    cfg = cfg.clone()
    cfg.OUTPUT_DIR = str(folder)
    cfg.merge_from_list(toy.as_list({f"SOLVER.AMP.{key}": value for key, value in amp.items()}))
    seed_all_rng(0)
    trainer = Trainer(cfg)
    seen = set()
    for module in trainer.model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda _, x, y: seen.add(y.dtype))
    trainer.train()
    return trainer, seen


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
@pytest.mark.parametrize("kind", ["single path", "mixed"])
def test_a_supernet_is_trained_in_either_precision(
    kind, precision, small_scales, toy_datasets, tmp_path
):
    settings = {"SOLVER.MAX_ITER": 2, "SOLVER.ALPHA.START": 0.0}
    if kind == "mixed":
        cfg = search_toy.config(toy_datasets, tmp_path, settings)
    else:
        cfg = toy.supernet_config(toy_datasets, settings)
    full, in_full = train(cfg, tmp_path / "full")
    half, in_half = train(cfg, tmp_path / "half", ENABLED=True, PRECISION=precision)
    assert in_full == {torch.float32} and in_half == {getattr(torch, precision)}
    losses = [run.storage.history("total_loss").values()[0][0] for run in (full, half)]
    assert losses[1] == pytest.approx(losses[0], rel=0.02) and losses[1] != losses[0]
    for name, tensor in half.model.state_dict().items():
        assert tensor.dtype in (torch.float32, torch.int64) and tensor.isfinite().all(), name
    halves = half.state_dict()["_trainer"]
    steps = [halves["weights"], halves["alpha"]] if kind == "mixed" else [halves]
    assert all(("grad_scaler" in step) == (precision == "float16") for step in steps)


def test_gradients_are_clipped_without_the_scale_of_the_loss(small_scales, toy_datasets, tmp_path):
    # Above every norm of a gradient; with the scale, many are above it.
    cfg = toy.supernet_config(toy_datasets, {"SOLVER.MAX_ITER": 1})
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE = 1e6
    plain, _ = train(cfg, tmp_path / "plain", ENABLED=True)
    norms = [p.grad.norm() for p in plain.model.parameters() if p.grad is not None]
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE = 1.5 * max(norms).item()
    clipped, _ = train(cfg, tmp_path / "clipped", ENABLED=True)
    for expected, parameter in zip(
        plain.model.parameters(), clipped.model.parameters(), strict=True
    ):
        assert torch.equal(parameter, expected)
