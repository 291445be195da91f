"""DetNAS on handwritten digits: evolution on a ShuffleNetV2 supernet, against random networks."""

import time

from .steps import (
    DIGITS,
    Training,
    make_datasets,
    network_config,
    run_verb,
    search,
    train,
    train_in_pairs,
)

SUPERNET = f"{DIGITS}/supernet-shufflenetv2.yaml"
NETWORK = f"{DIGITS}/network-shufflenetv2.yaml"
NUM_RANDOM = 5  # as in DetNAS, section 4.3


def random_networks(output):
    """Sample networks that satisfy the budget of the search, and write their configs."""
    folder = output / "random"
    if not folder.exists():
        run_verb(
            *("sample", "--config-file", SUPERNET),
            *("--number", NUM_RANDOM, "--output", folder),
        )
    names = [f"random-{number + 1}" for number in range(NUM_RANDOM)]
    return [network_config(output, name, NETWORK, f"random/{name}.yaml") for name in names]


def run(args):
    output = args.output
    start = time.perf_counter()
    make_datasets("digits_train", "digits_test", "handwriting_train")

    print("\nPretrain the supernet on single digits and, at the same time, train the baseline")
    baseline = f"{DIGITS}/baseline-shufflenetv2.yaml"
    config = f"{DIGITS}/pretrain-shufflenetv2.yaml"
    train(
        Training("pretrain", config, output / "pretrain"),
        Training("baseline", baseline, output / "baseline"),
    )
    print("\nTrain the supernet and, at the same time, the first random network")
    configs = random_networks(output)
    waiting = [Training(c.stem, c, output / c.stem) for c in configs]
    weights = ("MODEL.WEIGHTS", output / "pretrain" / "model_final.pth")
    supernet = output / "supernet"
    train(
        Training("supernet", SUPERNET, supernet, overrides=weights),
        waiting.pop(0),
    )
    print("\nEvolution with a budget of 15 M MACs, scored on archval")
    search(SUPERNET, supernet, output / "search")
    print("\nTrain the found network and the other random ones, two at a time")
    config = network_config(output, "searched", NETWORK, "search/genotype.yaml")
    waiting.insert(0, Training("searched", config, output / "searched"))
    train_in_pairs(waiting)

    print("\nCompare on digits_test")
    names = ["baseline", "searched", *(config.stem for config in configs)]
    run_verb(
        "compare",
        *(f"{name}={output / name}" for name in names),
        *("--search", output / "search", "--output", output / "report.html"),
    )
    print(f"\nDone in {(time.perf_counter() - start) / 60:.1f} minutes.")
