"""The gradient search in mixed precision, on a CPU."""

import json
from functools import partial

import pytest
import torch
from search_toy import check_resumed, config, train_at_once_and_resumed


@pytest.fixture
def amp_on_a_cpu(monkeypatch):
    """What Detectron2's AMPTrainer takes from a GPU; the scale doubles with every second step."""
    scaler = partial(torch.amp.GradScaler, "cpu", init_scale=4.0, growth_interval=2)
    monkeypatch.setattr(torch.cuda.amp, "GradScaler", scaler)
    monkeypatch.setattr(torch.cuda.amp, "autocast", partial(torch.autocast, "cpu"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    health_check = "_accelerator_graph_capture_health_check"
    monkeypatch.setattr(torch.optim.Optimizer, health_check, lambda self: None)


def test_a_resumed_search_has_the_scales_and_the_weights_of_an_uninterrupted_one(
    amp_on_a_cpu, toy_datasets, tmp_path
):
    cfg = config(toy_datasets, tmp_path, {"SOLVER.AMP.ENABLED": True})
    _, steps = train_at_once_and_resumed(cfg, killed_after=3)
    assert {precision for _, precision in steps.precisions} == {torch.float16}
    assert [name for name, changed in steps.changed if changed] == [n for n, _ in steps.precisions]

    halves = check_resumed(tmp_path)["trainer"]["_trainer"]
    scalers = [halves[name]["grad_scaler"] for name in ("weights", "alpha")]
    # Six steps of the weights, three of alpha.
    assert [(s["scale"], s["_growth_tracker"]) for s in scalers] == [(32.0, 0), (8.0, 1)]
    metrics = json.loads((tmp_path / "whole" / "metrics.json").read_text().splitlines()[-1])
    assert {"total_loss", "alpha/total_loss"} <= set(metrics)
