"""A training that is stopped by Ctrl-C or SIGTERM leaves a checkpoint of its last step."""

import os
import re
import signal
import time

import pytest
import search_toy
import torch
import toy
from detectron2.engine import HookBase, launch
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from scripts import start

from crnas_d2.data import register_coco_format
from crnas_d2.engine import Trainer
from crnas_d2.engine.hooks import TrainingStopped

FLIPS = {"INPUT.RANDOM_FLIP": "horizontal", "SOLVER.MOMENTUM": 0.9}


class Signal(HookBase):
    def __init__(self, *numbers, after=2):
        self.numbers, self.after = numbers, after

    def before_step(self):
        if self.trainer.iter == self.after:
            for number in self.numbers:
                os.kill(os.getpid(), number)


def train(cfg, *hooks, resume=False):
    seed_all_rng(7 + resume + 2 * comm.get_rank())
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=resume)
    trainer.register_hooks(list(hooks))
    trainer.train()


DEPTHS = {"MODEL.GENOTYPE.DEPTHS": [1, 2, 1, 1]}
CONFIGS = {
    "network": lambda *settings: toy.network_config(DEPTHS, *settings),
    "supernet": toy.supernet_config,
    "channels": lambda *settings: toy.network_config(search_toy.CHANNEL, *settings),
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("kind", CONFIGS)
def test_stopped_and_resumed_it_is_the_uninterrupted_training(
    kind, number, toy_datasets, tmp_path, capfd
):
    cfg = CONFIGS[kind](toy_datasets, FLIPS)
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    cfg.OUTPUT_DIR = str(tmp_path / "whole")
    train(cfg)
    cfg.OUTPUT_DIR = str(tmp_path / "killed")
    said = r"iteration 3 of 6, which model_0000002\.pth in .*killed holds\. .*--resume continues"
    with pytest.raises(TrainingStopped, match=said):
        train(cfg, Signal(number))
    assert "Stopping after this step" in capfd.readouterr().err
    train(cfg, resume=True)
    search_toy.check_resumed(tmp_path)
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == handlers


class Broken(HookBase):
    def before_step(self):
        raise RuntimeError("a step that fails")

    def after_train(self):
        raise RuntimeError("a hook that fails at the end")


def test_signals_are_given_back_whatever_ends_a_training(toy_datasets, tmp_path):
    cfg = toy.network_config(toy_datasets, DEPTHS, {"OUTPUT_DIR": str(tmp_path)})
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    trainer = Trainer(cfg)
    trainer._hooks.insert(0, Broken())
    with pytest.raises(RuntimeError, match="a hook that fails at the end"):
        trainer.train()
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_a_second_ctrl_c_stops_at_once(toy_datasets, tmp_path):
    cfg = toy.network_config(toy_datasets, DEPTHS, {"OUTPUT_DIR": str(tmp_path)})
    with pytest.raises(KeyboardInterrupt) as stopped:
        train(cfg, Signal(signal.SIGINT, signal.SIGTERM, signal.SIGINT))
    assert type(stopped.value) is KeyboardInterrupt and not list(tmp_path.glob("*.pth"))


def test_a_stop_in_the_last_step_needs_no_other_checkpoint(toy_datasets, tmp_path):
    cfg = toy.network_config(toy_datasets, DEPTHS, {"OUTPUT_DIR": str(tmp_path)})
    with pytest.raises(TrainingStopped, match=r"6 of 6, which model_final\.pth"):
        train(cfg, Signal(signal.SIGINT, after=5))
    assert [file.name for file in tmp_path.glob("*.pth")] == ["model_final.pth"]


def train_on_a_rank(cfg, datasets, stopped, resume):
    torch.set_num_threads(1)
    register_coco_format(datasets)
    hooks = [Signal(signal.SIGTERM)] if stopped and comm.get_rank() == 1 else []
    try:
        train(cfg, *hooks, resume=resume)
    except TrainingStopped:
        assert stopped


@pytest.mark.slow
def test_a_signal_to_one_rank_stops_all_after_one_step(toy_datasets, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    cfg = toy.supernet_config(toy_datasets, FLIPS, {"SOLVER.IMS_PER_BATCH": 4})
    for name, stopped, resume in (("whole", 0, 0), ("killed", 1, 0), ("killed", 0, 1)):
        cfg.OUTPUT_DIR = str(tmp_path / name)
        arguments = (cfg.clone(), toy_datasets["DATASETS.COCO_FORMAT"], stopped, resume)
        launch(train_on_a_rank, 2, dist_url="auto", args=arguments)
        assert (tmp_path / name / "model_0000002.pth").exists() == (name == "killed")
    search_toy.check_resumed(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_says_where_it_continues(ranks, number, toy_datasets, tmp_path):
    settings = {"SOLVER.MAX_ITER": 5000, "OUTPUT_DIR": tmp_path, "DATALOADER.NUM_WORKERS": 2}
    opts = toy.as_arguments(toy.TINY, toy_datasets, {"SOLVER.IMS_PER_BATCH": 4}, settings)
    flags, env = ["--num-gpus", str(ranks)], {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    process = start("train_net.py", toy.SEARCHED, *flags, opts=opts, env=env, own_group=True)
    metrics = tmp_path / "metrics.json"
    deadline = time.monotonic() + 300
    while not metrics.exists() or not metrics.stat().st_size:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.1)
    # Ctrl-C reaches all processes of a terminal, a service ends the first one.
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1 and "Traceback" not in errors, errors
    [name] = re.findall(r"which (model_\d+\.pth) in .* holds\. The same command with", errors)
    assert torch.load(tmp_path / name, weights_only=True)["model"]
    assert (tmp_path / "last_checkpoint").read_text() == name
