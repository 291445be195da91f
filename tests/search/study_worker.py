"""The toy search of test_study.py, and one worker of it as a script."""

import os
import sys
import time
from pathlib import Path

from crnas_d2.search import open_study, run_worker
from crnas_d2.space import FAMILIES

SPACE = FAMILIES["resnet"].stage_space([(1, 2, 3), (1,), (2, 3), (2, 3)])
DESCRIPTION = {"metric": "bbox/AP", "weights": "0a1b", "archval": ["toy", 1], "budget": (8, 8)}


def url(folder):
    return f"sqlite:///{folder}/search.db"


def fitness(genotype):
    """A different number for every genotype."""
    weights = (1.1, 2.3, 3.7, 0.1)
    return sum(depth * weight for depth, weight in zip(genotype.depths, weights, strict=True))


def evaluate(genotype):
    return {"bbox/AP": fitness(genotype), "bbox/AP50": 2 * fitness(genotype)}


def main(folder, hangs_in):
    calls = 0

    def logging_evaluate(genotype):
        nonlocal calls
        calls += 1
        with (folder / "log.txt").open("a") as log:
            log.write(" ".join(map(str, (os.getpid(), *genotype.depths))) + "\n")
        if calls == hangs_in:
            time.sleep(600)
        time.sleep(0.02)  # long enough for another worker to get its turn
        return evaluate(genotype)

    study = open_study(url(folder), "search", DESCRIPTION, resume=True)
    (folder / f"ready-{os.getpid()}").touch()
    while not (folder / "go").exists():  # workers that start at once get in each other's way
        time.sleep(0.001)
    run_worker(study, SPACE, logging_evaluate, "bbox/AP")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
