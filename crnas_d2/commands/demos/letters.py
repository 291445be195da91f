"""How many of its blocks does a trained detector need? The same AP at two thirds of the cost.

A detector of letters is trained. A search scores it without some of its blocks: every network with
0.65 of its MACs. The best one is fine-tuned; the baseline is the detector after as much further
training.
"""

import time

from .steps import LETTERS, Training, make_datasets, network_config, run_verb, search, train

ARCHTRAIN = ("DATASETS.TRAIN", '("letters_archtrain",)')
# Iterations of the trainings; the configs have more.
DETECTOR, FINETUNING = 1200, 1000


def run(args):
    output = args.output.resolve()
    start = time.perf_counter()
    make_datasets("letters_train", "letters_test")

    def step(title, config, folder, iterations, *overrides):
        """A training with the seed."""
        overrides = ("SOLVER.MAX_ITER", iterations, "SEED", args.seed, *overrides)
        return Training(title, config, output / folder, overrides=overrides)

    def weights(folder, name="model_final.pth"):
        return "MODEL.WEIGHTS", output / folder / name

    print("\nTrain the detector, [3, 4, 6, 3] blocks")
    no_test = ("DATASETS.TEST", "()")
    baseline = f"{LETTERS}/baseline.yaml"
    train(step("detector", baseline, "detector", DETECTOR, *ARCHTRAIN, *no_test))
    print("\nSearch: score every network with 0.65 of its MACs on archval")
    search(
        *(f"{LETTERS}/supernet-inherit.yaml", output / "detector", output / "search"),
        overrides=("SEED", args.seed),
    )
    print("\nFine-tune the network that was found and, for as long, the detector itself")
    finetune = f"{LETTERS}/finetune.yaml"
    found = network_config(output, "found", finetune, "search/genotype.yaml")
    train(
        step("found", found, "found", FINETUNING, *weights("search", "model_best.pth")),
        step("baseline", finetune, "baseline", FINETUNING, *weights("detector")),
    )

    print("\nCompare on letters_test")
    run_verb(
        "compare",
        *(f"{name}={output / name}" for name in ("baseline", "found")),
        *("--search", output / "search", "--output", output / "report.html"),
    )
    print(f"\nDone in {(time.perf_counter() - start) / 60:.1f} minutes.")
