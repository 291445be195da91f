#!/usr/bin/env python
"""CR-NAS stage reallocation on handwritten digits: supernet, search, retraining, comparison.

Runs the same scripts that a user would, with --resume: a second call goes on where the first
was stopped.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import torch
from detectron2.data import DatasetCatalog
from tqdm import tqdm

from crnas_d2.engine import load_config

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "configs" / "digits"


class Training:
    """One train_net.py in the background; its progress is read from its metrics.json."""

    def __init__(self, title, config, folder, *, iterations, threads, overrides=()):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.bar = tqdm(total=iterations, desc=title, unit="it")
        command = [sys.executable, ROOT / "train_net.py", "--config-file", config, "--resume"]
        with (folder / "stdout.txt").open("w") as log:
            self.process = subprocess.Popen(
                [*map(str, command), "OUTPUT_DIR", str(folder), *map(str, overrides)],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment(OMP_NUM_THREADS=str(threads)),
            )

    def is_running(self):
        running = self.process.poll() is None
        metrics = self.folder / "metrics.json"
        text = metrics.read_text() if metrics.exists() else ""
        complete = text[: text.rfind("\n")].splitlines()  # the last may be half written
        if complete:
            done = json.loads(complete[-1])["iteration"] + 1
            self.bar.update(min(done, self.bar.total) - self.bar.n)
        return running


def train(*trainings):
    """Waits for trainings that run side by side."""
    while any([training.is_running() for training in trainings]):
        time.sleep(1)
    for training in trainings:
        training.bar.close()
    for training in trainings:
        if training.process.returncode != 0:
            sys.exit(f"Training failed, see {training.folder / 'stdout.txt'}; then run this again.")


def run(*command, log=None):
    """Runs one script to its end; its progress bar stays on the terminal."""
    stdout = log.open("w") if log else None
    command = [sys.executable, *map(str, command)]
    if subprocess.run(command, stdout=stdout, env=environment()).returncode != 0:
        seen = f"above and in {log}" if log else "above"
        sys.exit(f"{command[1]} failed, as it says {seen}. Mend that and run this again.")


def environment(**variables):
    # Deprecations of libraries in libraries are nothing that a user of the demo can mend.
    return {**os.environ, "PYTHONWARNINGS": "ignore", **variables}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "output" / "demo", metavar="DIR")
    parser.add_argument(
        "--pretrain", action="store_true", help="pretrain the supernet as a classifier of digits"
    )
    args = parser.parse_args()
    output = args.output
    start = time.perf_counter()
    cores = min(torch.get_num_threads(), 8)
    iterations = load_config(str(CONFIGS / "baseline.yaml"), []).SOLVER.MAX_ITER
    if output.exists():
        if args.pretrain != (output / "pretrain").exists():
            begun = "without" if args.pretrain else "with"
            sys.exit(f"{output} was begun {begun} --pretrain: go on so, or name another --output.")
        print(f"Going on with the run in {output}; remove that folder to start anew.")

    for name in ("digits_train", "digits_test"):
        DatasetCatalog.get(name)  # made here once, not by each of the scripts at the same time

    weights = ()
    if args.pretrain:
        print("\n0/4  Pretrain the supernet on single digits")
        DatasetCatalog.get("handwriting_train")
        config = CONFIGS / "pretrain-stage.yaml"
        steps = load_config(str(config), []).SOLVER.MAX_ITER
        pretrained = output / "pretrain"
        train(Training("pretrain", config, pretrained, iterations=steps, threads=cores))
        weights = ("MODEL.WEIGHTS", pretrained / "model_final.pth")

    # Side by side, for two small trainings fill two cores better than one after the other.
    print("\n1/4  Train the supernet, and beside it the baseline")
    half = {"iterations": iterations, "threads": max(1, cores // 2)}
    train(
        Training(
            *("supernet", CONFIGS / "supernet-stage.yaml", output / "supernet"),
            **half,
            overrides=weights,
        ),
        Training("baseline", CONFIGS / "baseline.yaml", output / "baseline", **half),
    )
    print("\n2/4  Search: score every allocation of 16 blocks on archval")
    run(
        *(ROOT / "search_net.py", "--config-file", CONFIGS / "supernet-stage.yaml", "--resume"),
        *("--num-workers", cores),
        *("MODEL.WEIGHTS", output / "supernet" / "model_final.pth"),
        *("OUTPUT_DIR", output / "search"),
        log=output / "search-stdout.txt",
    )
    print((output / "search" / "genotype.yaml").read_text())
    print("\n3/4  Train the searched network as the baseline was trained")
    searched = output / "searched.yaml"
    searched.write_text(f'_BASE_: ["{CONFIGS / "baseline.yaml"}", "search/genotype.yaml"]\n')
    whole = {"iterations": iterations, "threads": cores}
    train(Training("searched", searched, output / "searched", **whole))
    print("\n4/4  Compare on digits_test")
    run(
        ROOT / "tools" / "compare_networks.py",
        *(f"baseline={output / 'baseline'}", f"searched={output / 'searched'}"),
        *("--search", output / "search"),
        *("--output", output / "report.html"),
    )
    print(f"\nDone in {(time.perf_counter() - start) / 60:.1f} minutes.")


if __name__ == "__main__":
    main()
