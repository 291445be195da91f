"""Trainings whose processes torchrun starts."""

import os
import subprocess
import sys

import pytest
import toy
from scripts import run_here

TORCHRUN = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run"]


def torchrun(script, config, *flags, opts, processes=2):
    command = [
        *(*TORCHRUN, "--standalone", f"--nproc-per-node={processes}", str(toy.ROOT / script)),
        *("--config-file", str(config), *flags, *opts),
    ]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONWARNINGS": "ignore"}
    return subprocess.run(
        command, cwd=toy.ROOT, env=environment, capture_output=True, text=True, timeout=300
    )


def train(datasets, folder, iterations, *flags):
    settings = {
        "MODEL.RESNETS.NORM": "SyncBN",
        "SOLVER.IMS_PER_BATCH": 4,
        "SOLVER.MAX_ITER": iterations,
        "SOLVER.CHECKPOINT_PERIOD": 2,
        "OUTPUT_DIR": folder,
    }
    opts = toy.as_arguments(toy.TINY, toy.STAGE_SPACE, datasets, settings)
    return torchrun("train_net.py", toy.SUPERNET, *flags, opts=opts)


@pytest.fixture(scope="module")
def trained_folder(toy_datasets, tmp_path_factory):
    folder = tmp_path_factory.mktemp("torchrun")
    process = train(toy_datasets, folder, 2)
    assert process.returncode == 0, process.stdout + process.stderr
    return folder


def test_its_processes_train_a_supernet(trained_folder):
    log = (trained_folder / "log.txt").read_text()
    assert "processes: 2 on cpu" in log and "images per step: 4 (2 per process)" in log
    assert (trained_folder / "model_final.pth").exists()


@pytest.mark.slow
def test_they_continue_a_training(trained_folder, toy_datasets):
    process = train(toy_datasets, trained_folder, 4, "--resume")
    assert process.returncode == 0, process.stdout + process.stderr
    assert "starts from: iteration 2" in (trained_folder / "log.txt").read_text()


@pytest.mark.slow
def test_the_first_process_says_what_is_wrong_and_all_end(trained_folder, toy_datasets):
    process = train(toy_datasets, trained_folder, 4)
    assert process.returncode != 0
    (line,) = [line for line in process.stderr.splitlines() if "holds another run" in line]
    assert line.startswith("train_net.py: OUTPUT_DIR")


@pytest.fixture
def as_torchrun(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")


def test_flags_that_start_processes_are_refused(as_torchrun, monkeypatch, toy_datasets, capsys):
    with pytest.raises(AssertionError):  # the parser exits with 2
        run_here(monkeypatch, "train_net.py", toy.SUPERNET, "--num-gpus", "2", opts=[])
    words = capsys.readouterr().err
    assert "torchrun has started the processes: leave out --num-gpus" in words


def test_a_search_is_refused(as_torchrun, monkeypatch, capsys):
    with pytest.raises(AssertionError):
        run_here(monkeypatch, "search_net.py", toy.SUPERNET, opts=[])
    assert "start it without torchrun" in capsys.readouterr().err
