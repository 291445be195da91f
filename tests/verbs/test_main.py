"""The command crnas-d2: its list of verbs, their help, and what it says about mistakes."""

import subprocess
import sys

import pytest
import toy

from crnas_d2.verbs.main import VERBS, main


def test_the_help_lists_each_verb_with_one_line(capsys):
    main(["--help"])
    printed = capsys.readouterr().out
    for verb in VERBS:
        [line] = [line for line in printed.splitlines() if line.split()[:1] == [verb]]
        assert len(line) <= 100 and len(line.split()) > 4, line
    main([])
    assert capsys.readouterr().out == printed


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_explains_itself(verb, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([verb, "--help"])
    printed = capsys.readouterr().out
    assert stopped.value.code == 0
    assert printed.startswith(f"usage: crnas-d2 {verb} ") and "options:" in printed


def test_an_unknown_verb_names_the_nearest():
    with pytest.raises(SystemExit, match=r"^crnas-d2: 'serach' is no verb\. Did you mean search"):
        main(["serach"])


def test_errors_name_the_verb(tmp_path):
    missing = str(tmp_path / "none.yaml")
    for verb in ("train", "search"):
        with pytest.raises(SystemExit, match=rf"^crnas-d2 {verb}: .*none\.yaml, which does not"):
            main([verb, "--config-file", missing])


TWICE = ["SOLVER.MAX_ITER", "5", "OUTPUT_DIR", "x", "SOLVER.MAX_ITER", "6"]


@pytest.mark.parametrize(
    "command",
    [
        ["train", "--config-file", "x.yaml"],
        ["search", "--config-file", "x.yaml"],
        ["plan", "x.yaml", "--opts"],
        ["predict", "x.png", "--output", "y", "--run", "z", "--opts"],
        ["correlate", "train", "x", "--config-file", "y", "--runs", "z", "--pretrain-opts"],
    ],
)
def test_a_key_with_two_values_is_refused(command):
    words = r"The override SOLVER\.MAX_ITER is given twice, as 5 and 6: leave out one\."
    with pytest.raises(SystemExit, match=words):
        main([*command, *TWICE])
    with pytest.raises(SystemExit) as stopped:  # of the file that is missing
        main([*command, *TWICE[:-1], "5"])
    assert "twice" not in str(stopped.value)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--num-gpus", "0"], "--num-gpus: 0 is not a positive number"),
        (["--num-machines", "-1"], "--num-machines: -1 is not a positive number"),
        (["--machine-rank", "1"], "--machine-rank is 1; expected 0 to 0"),
        (["--resume", "--eval-only"], "--eval-only evaluates MODEL.WEIGHTS: leave out --resume"),
    ],
)
def test_flags_of_a_training_that_mean_nothing_are_refused(flags, words, capsys):
    with pytest.raises(SystemExit):
        main(["train", *flags, "--config-file", "x.yaml"])
    assert words in capsys.readouterr().err


def test_the_package_runs_as_a_module():
    command = [sys.executable, "-W", "ignore", "-m", "crnas_d2", "--version"]
    finished = subprocess.run(command, cwd=toy.ROOT, capture_output=True, text=True)
    assert (finished.stdout, finished.stderr) == ("crnas-d2 0.1.0\n", "")


@pytest.mark.slow
@pytest.mark.parametrize("command", [["train_net.py"], ["-m", "crnas_d2", "train"]])
def test_a_training_in_two_processes(command, toy_datasets, tmp_path):
    options = toy.as_arguments(
        toy.TINY, toy_datasets, {"SOLVER.MAX_ITER": 2, "OUTPUT_DIR": str(tmp_path / "run")}
    )
    config = ["--num-gpus", "2", "--config-file", "crnas_d2://configs/letters/Base-letters.yaml"]
    command = [sys.executable, "-W", "ignore", *command, *config, *options]
    finished = subprocess.run(command, cwd=toy.ROOT, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert (tmp_path / "run" / "model_final.pth").is_file()
    assert (tmp_path / "run" / "log.txt.rank1").is_file()
