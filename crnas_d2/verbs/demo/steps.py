"""The steps of the demos: trainings in the background, other verbs in the foreground."""

import json
import os
import subprocess
import sys
import time

import torch
from detectron2.data import DatasetCatalog

from crnas_d2.common.progress import progress_bar
from crnas_d2.config import load_config
from crnas_d2.engine.training import has_checkpoint

LETTERS = "crnas_d2://configs/letters"
_COMMAND = (sys.executable, "-m", "crnas_d2")


class Training:
    """One training in the background; its progress is read from its metrics.json.

    Args:
        title: of its progress bar.
        folder: its OUTPUT_DIR.
        overrides: KEY, VALUE, ...
    """

    def __init__(self, title, config, folder, *, overrides=()):
        self.folder = folder
        self.title = title
        self.iterations = load_config(str(config), list(map(str, overrides))).SOLVER.MAX_ITER
        self.command = [
            *(*_COMMAND, "train", "--config-file", config),
            *(["--resume"] if has_checkpoint(folder) else []),
            *("OUTPUT_DIR", folder, *overrides),
        ]

    def start(self):
        self.bar = progress_bar(total=self.iterations, desc=self.title, unit="it")
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "stdout.txt").open("w") as log:
            self.process = subprocess.Popen(
                list(map(str, self.command)),
                stdout=log,
                stderr=subprocess.STDOUT,
                # One thread each: the number of threads changes how sums are rounded, which changes
                # a result as much as another seed does.
                env=environment(OMP_NUM_THREADS="1"),
            )

    def is_running(self):
        running = self.process.poll() is None
        metrics = self.folder / "metrics.json"
        text = metrics.read_text() if metrics.exists() else ""
        complete = text[: text.rfind("\n")].splitlines()  # the last line may be incomplete
        if complete:
            done = json.loads(complete[-1])["iteration"] + 1
            self.bar.update(min(done, self.bar.total) - self.bar.n)
        return running


def train(*trainings):
    """Run trainings at the same time, until all have ended."""
    for training in trainings:
        training.start()
    while any([training.is_running() for training in trainings]):
        time.sleep(1)
    for training in trainings:
        training.bar.close()
    for training in trainings:
        if training.process.returncode != 0:
            sys.exit(f"Training failed: see {training.folder / 'stdout.txt'}, then run this again.")


def train_in_pairs(trainings):
    """Run two trainings at a time, which uses cores better than one small training does."""
    waiting = list(trainings)
    while waiting:
        train(*waiting[:2])
        del waiting[:2]


def run_verb(verb, *arguments, log=None):
    """Run a verb to its end; its progress bar stays on the terminal."""
    stdout = log.open("w") if log else None
    command = [*_COMMAND, verb, *map(str, arguments)]
    if subprocess.run(command, stdout=stdout, env=environment()).returncode != 0:
        seen = f"above and in {log}" if log else "above"
        sys.exit(f"crnas-d2 {verb} failed: see {seen}. Fix it and run this again.")


def search(config, supernet, folder, *, overrides=()):
    """Search, and print the found genotype.yaml.

    Args:
        supernet: the folder of its training; ``None`` if the score needs none.
    """
    run_verb(
        *("search", "--config-file", config, "--resume"),
        *("--num-workers", cores()),
        *(("MODEL.WEIGHTS", supernet / "model_final.pth") if supernet else ()),
        *("OUTPUT_DIR", folder, *overrides),
        log=folder.parent / f"{folder.name}-stdout.txt",
    )
    print((folder / "genotype.yaml").read_text())


class Letters:
    """The steps of a demo on letters, all with one seed.

    Args:
        output: the folder of the demo.
        seed: of all trainings and searches.
    """

    def __init__(self, output, seed):
        self.output = output.resolve()
        self.output.mkdir(parents=True, exist_ok=True)
        self.seed = ("SEED", seed)
        make_datasets("letters_train", "letters_test")

    def training(self, title, config, iterations, *overrides, seed=()):
        """Return a training in the folder ``title``."""
        overrides = ("SOLVER.MAX_ITER", iterations, *(seed or self.seed), *overrides)
        return Training(title, config, self.output / title, overrides=overrides)

    def train_detector(self, config, iterations):
        """Train a detector on archtrain, in the folder ``detector``."""
        archtrain = ("DATASETS.TRAIN", '("letters_archtrain",)', "DATASETS.TEST", "()")
        train(self.training("detector", config, iterations, *archtrain))

    def search(self, config, supernet, folder):
        """Search with the weights that are in the folder ``supernet``, or with none."""
        weights = self.output / supernet if supernet else None
        search(config, weights, self.output / folder, overrides=self.seed)

    def found(self, name, base, search):
        """Write the config of what a search has found."""
        return network_config(self.output, name, base, f"{search}/genotype.yaml")

    def weights(self, folder, name="model_final.pth"):
        return "MODEL.WEIGHTS", self.output / folder / name

    def compare(self, networks, searches):
        """Compare trained networks on the test images; write report.html."""
        print("\nCompare on letters_test")
        run_verb(
            "compare",
            *(f"{name}={self.output / name}" for name in networks),
            *(part for folder in searches for part in ("--search", self.output / folder)),
            *("--output", self.output / "report.html"),
        )


def network_config(output, name, base, genotype):
    """Write a config: ``base`` with a genotype below ``output``."""
    file = output / f"{name}.yaml"
    file.write_text(f'_BASE_: ["{base}", "{genotype}"]\n')
    return file


def make_datasets(*names):
    """Make datasets here once, instead of in several processes at the same time."""
    for name in names:
        DatasetCatalog.get(name)


def cores():
    """Return the number of cores to use; more than eight do not help on such small images."""
    return min(torch.get_num_threads(), 8)


def environment(**variables):
    # Users of a demo cannot fix deprecation warnings of libraries.
    return {**os.environ, "PYTHONWARNINGS": "ignore", **variables}
