"""The steps of the demos: trainings in the background, other verbs in the foreground."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from detectron2.data import DatasetCatalog

from crnas_d2.common.progress import progress_bar
from crnas_d2.config import load_config
from crnas_d2.engine.checks import has_checkpoint

LETTERS = "crnas_d2://configs/letters"
_COMMAND = (sys.executable, "-m", "crnas_d2")
# Users of a demo cannot fix deprecation warnings of libraries.
_QUIET = {"PYTHONWARNINGS": "ignore"}


class BackgroundTraining:
    """A training in the background, in ``folder``; its metrics.json tells how far it is."""

    def __init__(self, config: str, folder: Path, overrides: Sequence[object]):
        self.folder, self.title = folder, folder.name
        self.iterations = load_config(config, list(map(str, overrides))).SOLVER.MAX_ITER
        resume = ["--resume"] if has_checkpoint(str(folder)) else []
        self.command = [
            *(*_COMMAND, "train", "--config-file", config, *resume),
            *("OUTPUT_DIR", str(folder), *map(str, overrides)),
        ]

    def start(self) -> None:
        self.bar = progress_bar(total=self.iterations, desc=self.title, unit="it")
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "stdout.txt").open("w") as log:
            # One thread each: the number of threads changes how sums are rounded, which changes
            # a result as much as another seed does.
            environment = {**os.environ, **_QUIET, "OMP_NUM_THREADS": "1"}
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=subprocess.STDOUT, env=environment
            )

    def is_running(self) -> bool:
        running = self.process.poll() is None
        metrics = self.folder / "metrics.json"
        text = metrics.read_text() if metrics.exists() else ""
        complete = text[: text.rfind("\n")].splitlines()  # the last line may be incomplete
        if complete:
            done = json.loads(complete[-1])["iteration"] + 1
            self.bar.update(min(done, self.iterations) - self.bar.n)
        return running


def train(*trainings: BackgroundTraining) -> None:
    """Run two trainings at a time, which uses cores better than one small training does."""
    for first in range(0, len(trainings), 2):
        pair = trainings[first : first + 2]
        for training in pair:
            training.start()
        while any([training.is_running() for training in pair]):
            time.sleep(1)
        for training in pair:
            training.bar.close()
        for training in pair:
            if training.process.returncode != 0:
                log = training.folder / "stdout.txt"
                sys.exit(f"Training failed: see {log}, then run this again.")


def run_verb(verb: str, *arguments: object, log: Path | None = None) -> None:
    """Run a verb to its end; its progress bar stays on the terminal."""
    stdout = log.open("w") if log else None
    command = [*_COMMAND, verb, *map(str, arguments)]
    if subprocess.run(command, stdout=stdout, env={**os.environ, **_QUIET}).returncode != 0:
        seen = f"above and in {log}" if log else "above"
        sys.exit(f"crnas-d2 {verb} failed: see {seen}. Fix it and run this again.")


class Demo:
    """The steps of a demo on letters, all with one seed, in the folder ``output``."""

    def __init__(self, output: Path, seed: int):
        self.output, self.seed = output, seed
        output.mkdir(parents=True, exist_ok=True)
        self.device: tuple[str, ...] = ()
        if not torch.cuda.is_available():  # said once, instead of by each step
            print("There is no GPU: all steps use the CPU.")
            self.device = ("MODEL.DEVICE", "cpu")
        # Made here once, instead of in several processes at the same time.
        for name in ("letters_train", "letters_test"):
            DatasetCatalog.get(name)

    def config(self, name: str, *bases: str) -> str:
        """Write a config that inherits from files, e.g. a shipped one and a found genotype.yaml."""
        file = self.output / f"{name}.yaml"
        file.write_text(f"_BASE_: {json.dumps(bases)}\n")
        return str(file)

    def weights(self, folder: str, name: str = "model_final.pth") -> tuple[str, Path]:
        """Return the override that starts from the weights of an earlier step."""
        return "MODEL.WEIGHTS", self.output / folder / name

    def training(
        self, title: str, config: str, iterations: int, *overrides: object
    ) -> BackgroundTraining:
        """Return a training in the folder ``title``; the overrides may have another seed."""
        settings = ("SOLVER.MAX_ITER", iterations, "SEED", self.seed, *self.device)
        return BackgroundTraining(config, self.output / title, (*settings, *overrides))

    def train_detector(self, iterations: int) -> None:
        """Train a detector on archtrain, in the folder ``detector``."""
        archtrain = ("DATASETS.TRAIN", '("letters_archtrain",)', "DATASETS.TEST", "()")
        train(self.training("detector", f"{LETTERS}/baseline.yaml", iterations, *archtrain))

    def search(self, config: str, supernet: str | None, folder: str) -> None:
        """Search the supernet of a folder, if the score needs one; print what was found."""
        run_verb(
            *("search", "--config-file", config, "--resume"),
            # More than eight do not help on such small images.
            *("--num-workers", min(torch.get_num_threads(), 8)),
            *(self.weights(supernet) if supernet else ()),
            *("OUTPUT_DIR", self.output / folder, "SEED", self.seed, *self.device),
            log=self.output / f"{folder}-stdout.txt",
        )
        print((self.output / folder / "genotype.yaml").read_text())

    def compare(self, networks: Sequence[str], searches: Sequence[str]) -> None:
        """Compare trained networks on the test images; write report.html."""
        print("\nCompare on letters_test")
        run_verb(
            "compare",
            *(f"{name}={self.output / name}" for name in networks),
            *(part for folder in searches for part in ("--search", self.output / folder)),
            *("--output", self.output / "report.html", "--overwrite"),
        )
