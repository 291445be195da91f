"""DetNAS from a trained ShuffleNetV2 detector: evolution of its kernels, against other networks.

The supernet inherits the detector, whose kernels are all 3x3: larger ones start as those with zeros
around them. Evolution finds kernels within a quarter more MACs. The found network is compared with
random ones of the supernet and with a detector of kernel 3 everywhere that is wider instead.
"""

from .steps import LETTERS, Letters, network_config, run_verb, train, train_in_pairs

# Iterations: of the detectors, the supernet, and the training of single networks.
DETECTOR, SUPERNET, FINETUNING = 1200, 600, 1000
NUM_RANDOM = 3


def run(args):
    letters = Letters(args.output, args.seed)
    network, wider = (f"{LETTERS}/{kind}-shufflenetv2.yaml" for kind in ("network", "baseline"))
    supernet = f"{LETTERS}/supernet-inherit-shufflenetv2.yaml"

    print("\nTrain the detector and, at the same time, a wider one")
    archtrain = ("DATASETS.TRAIN", '("letters_archtrain",)', "DATASETS.TEST", "()")
    train(
        letters.training("detector", network, DETECTOR, *archtrain),
        letters.training("wider-detector", wider, DETECTOR, *archtrain),
    )
    print("\nTrain the supernet that inherits the detector")
    train(letters.training("supernet", supernet, SUPERNET, *letters.weights("detector")))
    print("\nEvolution of the kernels within a quarter more MACs, scored on archval")
    letters.search(supernet, "supernet", "search")

    print("\nFine-tune all networks for as long, two at a time")
    rate = ("SOLVER.BASE_LR", 0.05, "MODEL.INHERIT", "True")
    folder = letters.output / "random"
    if not folder.exists():
        run_verb(*("sample", "--config-file", supernet, "--number", NUM_RANDOM, "--output", folder))
    names = [f"random-{number + 1}" for number in range(NUM_RANDOM)]
    configs = {"baseline": network, "found": letters.found("found", network, "search")} | {
        name: network_config(letters.output, name, network, f"random/{name}.yaml") for name in names
    }
    # All from the weights of the detector, so that they have the same training.
    trainings = [
        letters.training(name, config, FINETUNING, *rate, *letters.weights("detector"))
        for name, config in configs.items()
    ]
    weights = letters.weights("wider-detector")
    trainings.append(letters.training("wider", wider, FINETUNING, *rate, *weights))
    train_in_pairs(trainings)
    letters.compare(["baseline", "wider", "found", *names], ["search"])
