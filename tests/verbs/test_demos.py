"""The demos without their hours: every command that one runs is parsed and its config loaded."""

import argparse
import subprocess
from importlib import import_module
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest

from crnas_d2.config import NetworkSpec, load_config
from crnas_d2.verbs.demo import steps
from crnas_d2.verbs.main import main


def leave_genotype(cfg, file):
    spec = NetworkSpec.from_config(cfg)
    meaning = spec.space.to_config() if spec.is_searched_in_training else None
    file.parent.mkdir(parents=True, exist_ok=True)
    genotype = spec.space.sample(Random(0))
    genotype.to_yaml(file, family=cfg.MODEL.SUPERNET.FAMILY, channel=meaning)


class Recorder:
    """Stands for the processes of a demo: loads what they would load, leaves what they would."""

    def __init__(self):
        self.verbs = []

    def __call__(self, command, **_):
        assert command[1:3] == ["-m", "crnas_d2"]
        verb, *arguments = command[3:]
        parser = argparse.ArgumentParser(exit_on_error=False)
        import_module(f"crnas_d2.verbs.{verb}").add_arguments(parser)
        args = parser.parse_args(arguments)
        self.verbs.append(verb)
        if verb == "compare":
            for named in args.networks:
                assert (Path(named.partition("=")[2]) / "stdout.txt").is_file(), named
            assert all((Path(folder) / "genotype.yaml").is_file() for folder in args.search)
            return subprocess.CompletedProcess(command, 0)
        cfg = load_config(args.config_file, args.opts)
        spec = NetworkSpec.from_config(cfg)
        if verb == "sample":
            for number in range(args.number):
                leave_genotype(cfg, args.output / f"random-{number + 1}.yaml")
        elif verb == "search" or spec.is_searched_in_training:
            leave_genotype(cfg, Path(cfg.OUTPUT_DIR) / "genotype.yaml")
        return SimpleNamespace(returncode=0, poll=lambda: 0)


@pytest.mark.parametrize(
    ("demo", "folder", "verbs"),
    [
        ([], "demo", {"train": 3, "search": 1, "compare": 1}),
        (["letters", "--seed", "2"], "demo", {"train": 3, "search": 1, "compare": 1}),
        (["crnas"], "demo-crnas", {"train": 5, "search": 2, "compare": 1}),
        (["detnas"], "demo-detnas", {"train": 4, "search": 1, "sample": 1, "compare": 1}),
        (["nats", "--seed", "2"], "demo-nats", {"train": 6, "compare": 1}),
    ],
)
def test_a_demo_runs_verbs_that_understand_it(
    demo, folder, verbs, tmp_path, monkeypatch, capsys, caplog
):
    recorder = Recorder()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(steps.subprocess, "Popen", recorder)
    monkeypatch.setattr(steps.subprocess, "run", recorder)
    monkeypatch.setattr(steps, "DatasetCatalog", SimpleNamespace(get=lambda name: []))
    monkeypatch.setattr(steps.torch.cuda, "is_available", lambda: False)
    main(["demo", *demo])
    assert {verb: recorder.verbs.count(verb) for verb in recorder.verbs} == verbs
    printed = capsys.readouterr()
    assert "Done in" in printed.out and printed.out.count("no GPU") == 1
    assert "no GPU" not in caplog.text and "\x1b" not in printed.err
    assert [path.name for path in (tmp_path / "output").iterdir()] == [folder]


def test_a_demo_of_another_name_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["demo", "nat"])
    assert "choose from" in capsys.readouterr().err
