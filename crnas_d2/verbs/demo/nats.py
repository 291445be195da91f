"""NATS from a trained detector: a dilation for each channel group, by gradient descent.

The detector and the network that was found start from the same weights and are trained alike, each
with two seeds.
"""

from .steps import LETTERS, Letters, train, train_in_pairs

# Iterations: of the detector, the search, and the training of its result.
DETECTOR, SEARCH, FINETUNING = 1200, 800, 1000


def run(args):
    letters = Letters(args.output, args.seed)
    print("\nTrain the detector, [3, 4, 6, 3] blocks")
    letters.train_detector(f"{LETTERS}/baseline.yaml", DETECTOR)
    weights = letters.weights("detector")
    print("\nGradient-based search: a dilation for each channel group")
    train(letters.training("search", f"{LETTERS}/supernet-nats.yaml", SEARCH, *weights))

    print("\nTrain the detector and the found network further, from the same weights")
    finetune = f"{LETTERS}/finetune.yaml"
    # The found network takes the weights of the detector as they are.
    found = letters.found("found", finetune, "search")
    configs = {"baseline": (finetune,), "found": (found, "MODEL.INHERIT", "False")}
    trainings = [
        letters.training(
            f"{name}-{seed}", config, FINETUNING, *weights, *overrides, seed=("SEED", seed)
        )
        for seed in (args.seed, args.seed + 1)
        for name, (config, *overrides) in configs.items()
    ]
    train_in_pairs(trainings)
    letters.compare([training.title for training in trainings], ["search"])
