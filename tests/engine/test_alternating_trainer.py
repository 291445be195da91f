"""The gradient search: whose turn it is, what is saved, and that it resumes (NATS 3.2, 4.2)."""

import json

import pytest
import torch
from search_toy import Steps, check_resumed, config, train, train_at_once_and_resumed
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from crnas_d2.engine import AlternatingTrainer, Trainer
from crnas_d2.modeling import find_supernet


def test_weights_and_alpha_take_turns_on_two_splits(toy_datasets, tmp_path):
    steps = Steps()
    trainer = train(config(toy_datasets, tmp_path), steps)
    assert isinstance(trainer._trainer, AlternatingTrainer)
    # Six iterations; alpha is trained in the second half of them.
    expected = ["weights"] * 3 + ["weights", "alphas"] * 3
    assert [name for name, _ in steps.changed] == expected
    supernet = find_supernet(trainer.model)
    alphas = {f"backbone.bottom_up.{name}.alpha" for name in supernet.convs}
    assert len(alphas) == 3
    weights = {name for name, _ in trainer.model.named_parameters()} - alphas
    for name, changed in steps.changed:
        assert changed == (alphas if name == "alphas" else weights)
    for name, files in steps.files:
        split = "toy_archval" if name == "alphas" else "toy_archtrain"
        assert all(split in file for file in files)


def test_each_half_has_its_optimizer(toy_datasets, tmp_path):
    settings = {"SOLVER.ALPHA.BASE_LR": 0.02, "SOLVER.ALPHA.WEIGHT_DECAY": 0.001}
    cfg = config(toy_datasets, tmp_path, settings, {"SOLVER.LR_SCHEDULER_NAME": "WarmupCosineLR"})
    trainer = train(cfg)
    adam, sgd = trainer._trainer.alphas.optimizer, trainer._trainer.weights.optimizer
    assert type(adam) is torch.optim.Adam and isinstance(sgd, torch.optim.SGD)
    assert adam.defaults["lr"] == 0.02 and adam.defaults["weight_decay"] == 0.001
    assert adam.param_groups[0]["lr"] == 0.02  # constant
    assert sgd.param_groups[0]["lr"] < cfg.SOLVER.BASE_LR  # the schedule is that of the weights
    owned = [{id(p) for g in o.param_groups for p in g["params"]} for o in (adam, sgd)]
    assert not owned[0] & owned[1]
    assert owned[0] | owned[1] == {id(p) for p in trainer.model.parameters()}


# Killed before alpha is trained, and in the midst of it.
@pytest.mark.parametrize("killed_after", [1, 3])
def test_killed_and_resumed_it_is_the_uninterrupted_search(killed_after, toy_datasets, tmp_path):
    train_at_once_and_resumed(config(toy_datasets, tmp_path), killed_after)
    checkpoint = check_resumed(tmp_path)
    assert checkpoint["iteration"] == 5
    halves = checkpoint["trainer"]["_trainer"]
    assert [halves[name]["loader"]["position"] for name in ("weights", "alpha")] == [6, 3]


def test_what_a_step_draws_depends_on_the_seed_and_the_iteration(toy_datasets, tmp_path):
    drawn = []
    for number, seed in enumerate((1, 2, 1)):
        steps = Steps()
        settings = {"SEED": seed, "SOLVER.ALPHA.START": 0.0, "SOLVER.MAX_ITER": 3}
        train(config(toy_datasets, tmp_path / str(number), settings), steps, seed=number)
        drawn.append([value for _, value in steps.drawn])
    assert drawn[0] == drawn[2]
    assert len({*drawn[0], *drawn[1]}) == 12  # three iterations of two halves, for two seeds


def test_the_normalizer_of_a_dense_detector_goes_on(toy_datasets, tmp_path):
    trainer = Trainer(config(toy_datasets, tmp_path))
    trainer.model.loss_normalizer = 12.5
    state = trainer.state_dict()
    resumed = Trainer(config(toy_datasets, tmp_path))
    assert not hasattr(resumed.model, "loss_normalizer")
    resumed.load_state_dict(state)
    assert resumed.model.loss_normalizer == 12.5


@pytest.mark.parametrize("begun_as_search", [True, False])
def test_a_run_of_another_kind_is_not_resumed(begun_as_search, toy_datasets, tmp_path):
    search = config(toy_datasets, tmp_path, {"SOLVER.MAX_ITER": 1})
    network = search.clone()
    network.MODEL.SUPERNET.SPACE, network.MODEL.SUPERNET.PATH_SAMPLER = "none", "fixed"
    begun, resumed = (search, network) if begun_as_search else (network, search)
    train(begun)
    space = "channel" if begun_as_search else "none"
    words = rf"resume it with MODEL\.SUPERNET\.SPACE {space}, or choose another OUTPUT_DIR"
    with pytest.raises(ValueError, match=words):
        train(resumed, resume=True)


def test_alpha_is_trained_however_late(toy_datasets, tmp_path):
    late = config(toy_datasets, tmp_path, {"SOLVER.ALPHA.START": 0.999})
    assert Trainer(late)._trainer.alpha_start == late.SOLVER.MAX_ITER - 1


def test_progress_of_alpha_is_in_the_metrics_and_in_tensorboard(toy_datasets, tmp_path):
    cfg = config(toy_datasets, tmp_path, {"SOLVER.ALPHA.BASE_LR": 0.5})
    trainer = train(cfg)
    lines = [json.loads(line) for line in (tmp_path / "metrics.json").read_text().splitlines()]
    metrics = {name: value for line in lines for name, value in line.items()}
    for name in ("total_loss", "loss_cls", "data_time"):
        assert {name, f"alpha/{name}"} <= set(metrics)
    shares = {name: value for name, value in metrics.items() if "/share_" in name}
    assert set(shares) == {
        *("alpha/res3/share_1x1", "alpha/res3/share_2x2"),
        *("alpha/res5/share_1x1", "alpha/res5/share_3x3", "alpha/res5/share_1x3"),
    }
    assert sum(shares.values()) == pytest.approx(2)
    genotype = find_supernet(trainer.model).decode()
    assert [len(indices) for indices in genotype.channels] == [4, 4, 4]
    threes = sum(index == 1 for index in genotype.channels[2]) / 4
    assert shares["alpha/res5/share_3x3"] == threes
    assert 0 < metrics["alpha/res3/entropy"] < 0.6931  # less than log(2), that of the beginning

    events = EventAccumulator(str(tmp_path)).Reload()
    for name in (*shares, "alpha/res3/entropy", "alpha/res5/entropy"):
        last = events.Scalars(name)[-1]
        assert (last.step, last.value) == (5, pytest.approx(metrics[name])), name
