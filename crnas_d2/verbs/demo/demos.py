"""The demos: each trains and searches on letters, then compares what it has found."""

from .steps import LETTERS, Demo, run_verb, train

# Iterations of the trainings; the configs have more.
DETECTOR, FINETUNING = 1200, 1000
SUPERNET = 600  # of dilations
ALPHA = 800  # of the gradient-based search
FROM_SCRATCH = 3000  # fewer measure how fast a network trains
NUM_RANDOM = 2

_FINETUNE = f"{LETTERS}/finetune.yaml"
_GENOTYPE = "search/genotype.yaml"  # in the folder of the demo


def letters(demo: Demo) -> None:
    """How many of its blocks does a trained detector need? The same AP at two thirds of the cost.

    A detector of letters is trained. A search scores it without some of its blocks: every network
    with 0.65 of its MACs. The best one is fine-tuned; the baseline is the detector after as much
    further training.
    """
    _search_blocks(demo)
    print("\nFine-tune the network that was found and, for as long, the detector itself")
    found = demo.config("found", _FINETUNE, _GENOTYPE)
    train(
        demo.training("found", found, FINETUNING, *demo.weights("search", "model_best.pth")),
        demo.training("baseline", _FINETUNE, FINETUNING, *demo.weights("detector")),
    )
    demo.compare(["baseline", "found"], ["search"])


def crnas(demo: Demo) -> None:
    """Both levels of CR-NAS from a trained detector: blocks of each stage, then their dilations.

    The first level is that of the demo ``letters``. The second starts from what it has found: every
    dilation of a block begins with the weights of that block, a supernet of them is trained, and a
    greedy search decides on one block after the other.
    """
    _search_blocks(demo)
    best = demo.weights("search", "model_best.pth")
    print("\nTrain the supernet of dilations and, at the same time, fine-tune the found network")
    space = f"{LETTERS}/supernet-inherit-operation.yaml"
    supernet = demo.config("supernet-operation", _GENOTYPE, space)
    found = demo.config("found", _FINETUNE, _GENOTYPE)
    train(
        demo.training("supernet-operation", supernet, SUPERNET, *best),
        demo.training("found", found, FINETUNING, *best),
    )
    print("\nGreedy search: block after block, keep the three best prefixes")
    demo.search(supernet, "supernet-operation", "search-operation")
    print("\nFine-tune the dilated network and, for as long, the detector itself")
    # From the same weights as the network without dilations, so that both have the same training.
    dilated = demo.config("dilated", _FINETUNE, "search-operation/genotype.yaml")
    train(
        demo.training("dilated", dilated, FINETUNING, *best),
        demo.training("baseline", _FINETUNE, FINETUNING, *demo.weights("detector")),
    )
    demo.compare(["baseline", "found", "dilated"], ["search", "search-operation"])


def detnas(demo: Demo) -> None:
    """DetNAS's space from scratch: kernels of a ShuffleNetV2, against a wider one of equal cost.

    Evolution within a budget of MACs, scored by entropy: no supernet is trained. The network that
    was found, random ones of the same budget, and one with kernel 3 everywhere that is wider
    instead are trained alike, from scratch.
    """
    space, network, wider = (
        f"{LETTERS}/{kind}-shufflenetv2.yaml" for kind in ("entropy", "network", "baseline")
    )
    print("\nEvolution of the kernels within 3.75 M MACs, scored without training")
    demo.search(space, None, "search")
    print("\nTrain all networks from scratch, two at a time")
    folder = demo.output / "random"
    if not folder.exists():
        settings = "--config-file", space, "--number", NUM_RANDOM, "--output", folder
        run_verb("sample", *settings, *demo.device)
    configs = {"wider": wider, "found": demo.config("found", network, _GENOTYPE)}
    for number in range(1, NUM_RANDOM + 1):
        name = f"random-{number}"
        configs[name] = demo.config(name, network, f"random/{name}.yaml")
    train(*(demo.training(name, c, FROM_SCRATCH) for name, c in configs.items()))
    demo.compare(list(configs), ["search"])


def nats(demo: Demo) -> None:
    """NATS from a trained detector: a dilation for each channel group, by gradient descent.

    The detector and the network that was found start from the same weights and are trained alike,
    each with two seeds.
    """
    print("\nTrain the detector, [3, 4, 6, 3] blocks")
    demo.train_detector(DETECTOR)
    weights = demo.weights("detector")
    print("\nGradient-based search: a dilation for each channel group")
    train(demo.training("search", f"{LETTERS}/supernet-nats.yaml", ALPHA, *weights))
    print("\nTrain the detector and the found network further, from the same weights")
    # The found network takes the weights of the detector as they are.
    found = demo.config("found", _FINETUNE, _GENOTYPE)
    settings = {"baseline": (_FINETUNE, ()), "found": (found, ("MODEL.INHERIT", "False"))}
    trainings = [
        demo.training(f"{name}-{seed}", config, FINETUNING, *weights, *overrides, "SEED", seed)
        for seed in (demo.seed, demo.seed + 1)
        for name, (config, overrides) in settings.items()
    ]
    train(*trainings)
    demo.compare([training.title for training in trainings], ["search"])


def _search_blocks(demo: Demo) -> None:
    """Train the detector, and search it for the blocks that it needs."""
    print("\nTrain the detector, [3, 4, 6, 3] blocks")
    demo.train_detector(DETECTOR)
    print("\nSearch: score every network with 0.65 of its MACs on archval")
    demo.search(f"{LETTERS}/supernet-inherit.yaml", "detector", "search")
