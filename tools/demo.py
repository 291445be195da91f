#!/usr/bin/env python
"""How many of its blocks does a trained detector need? The same AP at two thirds of the cost.

A detector of letters is trained. A search scores it without some of its blocks: every network with
0.65 of its MACs. The best one is fine-tuned; the baseline is the detector after as much further
training.

Runs the same scripts that a user would, with --resume: a second call resumes where the first
stopped.
"""

import argparse
import time
from pathlib import Path

from demo_steps import LETTERS, ROOT, Training, announce, make_datasets, run, search, train

from crnas_d2.jobs import one_line_errors

ARCHTRAIN = ("DATASETS.TRAIN", '("letters_archtrain",)')
# Iterations of the trainings; the configs have more.
DETECTOR, FINETUNING = 1200, 1000


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--output", type=Path, default=ROOT / "output" / "demo", metavar="DIR")
    parser.add_argument("--seed", type=int, default=1, help="of all steps")
    args = parser.parse_args()
    announce(args.output)
    return args


def main():
    args = parse_arguments()
    output = args.output.resolve()
    start = time.perf_counter()
    make_datasets("letters_train", "letters_test")

    def step(title, config, folder, iterations, *overrides):
        """A training whose config is below configs/letters, or a file."""
        overrides = ("SOLVER.MAX_ITER", iterations, "SEED", args.seed, *overrides)
        return Training(title, LETTERS / config, output / folder, overrides=overrides)

    def weights(folder, name="model_final.pth"):
        return "MODEL.WEIGHTS", output / folder / name

    print("\nTrain the detector, [3, 4, 6, 3] blocks")
    no_test = ("DATASETS.TEST", "()")
    train(step("detector", "baseline.yaml", "detector", DETECTOR, *ARCHTRAIN, *no_test))
    print("\nSearch: score every network with 0.65 of its MACs on archval")
    search(
        *(LETTERS / "supernet-inherit.yaml", output / "detector", output / "search"),
        overrides=("SEED", args.seed),
    )
    print("\nFine-tune the network that was found and, for as long, the detector itself")
    found = output / "found.yaml"
    found.write_text(f'_BASE_: ["{LETTERS / "finetune.yaml"}", "search/genotype.yaml"]\n')
    train(
        step("found", found, "found", FINETUNING, *weights("search", "model_best.pth")),
        step("baseline", "finetune.yaml", "baseline", FINETUNING, *weights("detector")),
    )

    print("\nCompare on letters_test")
    run(
        ROOT / "tools" / "compare_networks.py",
        *(f"{name}={output / name}" for name in ("baseline", "found")),
        *("--search", output / "search", "--output", output / "report.html"),
    )
    print(f"\nDone in {(time.perf_counter() - start) / 60:.1f} minutes.")


if __name__ == "__main__":
    with one_line_errors(__file__, stopped="Stopped; the same command resumes."):
        main()
