"""NATS on handwritten digits: a gradient-based search of a dilation for each channel group.

There are two searches: of channel groups and of whole convolutions. The base network and both
results start from the same pretrained weights and are trained alike, each with two seeds.
"""

import time

from .steps import (
    DIGITS,
    Training,
    make_datasets,
    network_config,
    run_verb,
    train,
    train_in_pairs,
)

SEEDS = (1, 2)


def run(args):
    output = args.output
    start = time.perf_counter()
    make_datasets("digits_train", "digits_test", "handwriting_train")

    print("\nPretrain the base network on single digits")
    pretrained = output / "pretrain"
    train(Training("pretrain", f"{DIGITS}/pretrain-baseline.yaml", pretrained))
    weights = ("MODEL.WEIGHTS", pretrained / "model_final.pth")

    print("\nGradient-based search: a dilation for each channel group, and for each convolution")
    searches = {"channels": "supernet-nats.yaml", "paths": "supernet-nats-path.yaml"}
    train(
        *(
            Training(name, f"{DIGITS}/{file}", output / f"search-{name}", overrides=weights)
            for name, file in searches.items()
        )
    )

    print("\nTrain the base network and the found ones, from the pretrained weights")
    base = f"{DIGITS}/baseline.yaml"
    configs = {"base": base} | {
        name: network_config(output, name, base, f"search-{name}/genotype.yaml")
        for name in searches
    }
    trainings = {
        f"{name}-{seed}": Training(
            f"{name}-{seed}",
            config,
            output / f"{name}-{seed}",
            overrides=(*weights, "SEED", seed),
        )
        for name, config in configs.items()
        for seed in SEEDS
    }
    train_in_pairs(trainings.values())

    print("\nCompare on digits_test")
    run_verb(
        "compare",
        *(f"{name}={training.folder}" for name, training in trainings.items()),
        *("--search", output / "search-channels", "--search", output / "search-paths"),
        *("--output", output / "report.html"),
    )
    print(f"\nDone in {(time.perf_counter() - start) / 60:.1f} minutes.")
