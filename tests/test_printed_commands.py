"""Every command that a page prints, in its order: what one step leaves, the next one takes.

A page's shell script runs, so that loops, functions and written configs count. Each command goes
through the verb's own parser, loading and checks; in place of trainings and searches, files of
their results are left.
"""

import argparse
import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest
import torch
import toy
from project_toy import copy_configs
from shell import PROGRAMS, run_script

from crnas_d2.common.files import check_writable
from crnas_d2.config import NetworkSpec, load_config
from crnas_d2.config import checks as config_checks
from crnas_d2.engine import checks as engine_checks
from crnas_d2.engine.checks import check_config, check_search
from crnas_d2.engine.scores import SCORE_REGISTRY
from crnas_d2.verbs import search as search_verb
from crnas_d2.verbs import train as train_verb
from crnas_d2.verbs.main import VERBS, run_verb
from crnas_d2.verbs.search import trained_detector

PAGES = [
    path.relative_to(toy.ROOT).as_posix()
    for folder in (toy.ROOT, toy.ROOT / "docs", *sorted((toy.ROOT / "projects").iterdir()))
    for path in sorted(folder.glob("*.md"))
]
PATTERN = re.compile(r"\.\.\.|<[\w ]+>")  # a command in general, not one to run
SCRIPTS = {
    script.relative_to(toy.ROOT).as_posix(): verb[1]
    for script in (*toy.ROOT.glob("*.py"), *toy.ROOT.glob("tools/*.py"))
    if (verb := re.search(r'run_verb\("([\w-]+)"', script.read_text()))
}


def script_of(page: str) -> str:
    """The shell commands of a page, without what other programs print."""
    # Fences by pairs: a text in a language, or none, and what stands between two of them.
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    starts = rf"^\s*(?:(?:{'|'.join(PROGRAMS)}|export) |cat >)"
    scripts = [
        text
        for language, text in fenced
        if language in ("", "bash", "sh") and re.search(starts, text, re.MULTILINE)
    ]
    lines = "\n".join(scripts).replace("\\\n", " ").splitlines()
    return "\n".join(line for line in lines if not PATTERN.search(line))


class Steps:
    """Stands for trainings and searches: checks as they do, leaves files as they do."""

    def __init__(self, monkeypatch):
        monkeypatch.setattr(train_verb, "launch", self.train)
        monkeypatch.setattr(search_verb, "run_search", self.search)
        # There are no datasets here; crnas_d2.data's own tests are about their checks.
        monkeypatch.setattr(engine_checks, "check_data", lambda cfg, keys: None)
        monkeypatch.setattr(engine_checks, "read_weights", self.check_weights)
        # Building the models takes most of the time; tests/test_configs.py does.
        monkeypatch.setattr(config_checks, "_try_model", lambda *_: None)
        monkeypatch.setattr(trained_detector, "StrictCheckpointer", self.checkpointer)
        self.trained, self.searched = [], []
        self.prepared: list[str] = []  # folders of configs that ``prepare`` writes

    def check_weights(self, path: str) -> None:
        if "://" in path:  # published
            return
        assert torch.load(path, weights_only=True)["left by"], path

    def checkpointer(self, *_, **__) -> SimpleNamespace:
        return SimpleNamespace(load=self.check_weights)

    def train(self, _function, *_, args, **__) -> None:
        cfg, _resume, eval_only, _program = args
        if eval_only:
            return
        folder = Path(cfg.OUTPUT_DIR)
        self.leave(cfg, folder, "model_final.pth")
        (folder / "last_checkpoint").write_text("model_final.pth")
        spec = NetworkSpec.from_config(cfg) if cfg.MODEL.SUPERNET.SPACE != "none" else None
        if spec is not None and spec.is_searched_in_training:
            self.leave_genotype(cfg, spec)
        self.trained.append(cfg.OUTPUT_DIR)

    def search(self, cfg, *, resume: bool, num_workers: int) -> SimpleNamespace:
        check_writable(cfg.OUTPUT_DIR)
        check_config(cfg, [])
        spec = check_search(cfg)
        folder = Path(cfg.OUTPUT_DIR)
        assert resume or not (folder / "search.db").exists(), f"{folder} holds a search"
        if SCORE_REGISTRY.get(cfg.SEARCH.SCORE).uses_supernet:
            self.check_weights(cfg.MODEL.WEIGHTS)
        self.leave(cfg, folder, "model_best.pth")
        (folder / "search.db").write_text("a study")
        self.searched.append(cfg.OUTPUT_DIR)
        return SimpleNamespace(genotype=self.leave_genotype(cfg, spec), fitness=1.0)

    def leave(self, cfg, folder: Path, weights: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text(cfg.dump())
        torch.save({"left by": cfg.OUTPUT_DIR}, folder / weights)

    def leave_genotype(self, cfg, spec: NetworkSpec):
        genotype = spec.space.sample(Random(cfg.OUTPUT_DIR))
        meaning = spec.space.to_config() if spec.is_searched_in_training else None
        file = Path(cfg.OUTPUT_DIR) / "genotype.yaml"
        genotype.to_yaml(file, family=cfg.MODEL.SUPERNET.FAMILY, channel=meaning)
        return genotype


class Walk(Steps):
    """Goes through the commands of a page."""

    def run(self, words: list[str]) -> None:
        program, *arguments = words
        if program == "make":
            makefile = (toy.ROOT / "Makefile").read_text()
            for target in arguments:
                assert re.search(rf"^[\w -]*\b{target}\b[\w -]*:", makefile, re.MULTILINE), words
        elif program == "python" and arguments[0] == "-m":
            assert find_spec(arguments[1]) is not None, words
        elif program == "python" and arguments[0] in SCRIPTS:
            self.run_verb(SCRIPTS[arguments[0]], arguments[1:], arguments[0])
        elif program == "python":
            assert arguments[0] == "-c" or (toy.ROOT / arguments[0]).is_file(), words
        elif program == "crnas-d2":
            assert arguments[0] in VERBS, words
            self.run_verb(arguments[0], arguments[1:], "crnas-d2")

    def run_verb(self, verb: str, arguments: list[str], program: str) -> None:
        args = self.parsed(verb, arguments)
        file = getattr(args, "config_file", "") or ""
        if verb == "prepare":
            self.prepared.append(str(args.output))
        elif any(file.startswith(f"{folder}/") for folder in self.prepared):
            return
        elif verb in ("train", "search"):
            run_verb(verb, arguments, program)
        elif verb == "sample":
            cfg = load_config(file, args.opts)
            spec = NetworkSpec.from_config(cfg)
            args.output.mkdir(parents=True)
            for number in range(1, args.number + 1):
                genotype = spec.space.sample(Random(number))
                name = args.output / f"random-{number}.yaml"
                genotype.to_yaml(name, family=cfg.MODEL.SUPERNET.FAMILY)
        elif file:
            load_config(file, args.opts)

    def parsed(self, verb: str, arguments: list[str]) -> argparse.Namespace:
        room = "crnas_d2.verbs"
        parser = argparse.ArgumentParser(exit_on_error=False)
        import_module(f"{room}.{verb.replace('-', '_')}").add_arguments(parser)
        return parser.parse_args(arguments)


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_run_one_after_another(page, tmp_path, monkeypatch):
    script = script_of((toy.ROOT / page).read_text())
    if not script:
        return
    root = copy_configs(tmp_path)
    for name in ("docs", "examples"):
        (root / name).symlink_to(toy.ROOT / name)
    for name in set(re.findall(r"path/to/[\w./-]+\.pth", script)):  # the reader's
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        torch.save({"left by": "the reader"}, root / name)
    monkeypatch.chdir(root)
    monkeypatch.syspath_prepend(str(toy.ROOT / "examples"))
    walk = Walk(monkeypatch)

    def handle(words: list[str]) -> None:
        try:
            walk.run(words)
        except (SystemExit, argparse.ArgumentError) as error:
            pytest.fail(f"{page}: {' '.join(words)}\n{error}")

    run_script(script, root, handle)


def test_the_walk_sees_what_is_wrong(tmp_path, monkeypatch):
    config = "configs/letters/supernet-stage.yaml"
    train = f"python train_net.py --config-file {config} OUTPUT_DIR out"
    search = f"python search_net.py --config-file {config} MODEL.WEIGHTS"
    root = copy_configs(tmp_path)
    monkeypatch.chdir(root)
    walk = Walk(monkeypatch)

    def run(line):
        walk.run(line.split())

    with pytest.raises(SystemExit, match=r"none/model_final\.pth"):
        run(f"{search} none/model_final.pth OUTPUT_DIR found")
    run(train)
    with pytest.raises(SystemExit, match="holds another run already"):
        run(train)
    with pytest.raises(SystemExit, match="holds a training"):
        run(f"{search} out/model_final.pth OUTPUT_DIR out")
    run(f"{search} out/model_final.pth OUTPUT_DIR found")
    assert (walk.trained, walk.searched) == (["out"], ["found"])
    with pytest.raises(argparse.ArgumentError):
        run("python search_net.py --no-such-flag=3 --num-workers x")
    with pytest.raises(SystemExit, match="SOLVER"):
        run(f"{train} SOLVER.MAX_ITERATIONS 3")
