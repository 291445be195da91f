"""DetNAS's space from scratch: the kernels of a ShuffleNetV2, against a wider one of equal cost.

Evolution within a budget of MACs, scored by entropy: no supernet is trained. The network that was
found, random ones of the same budget, and one with kernel 3 everywhere that is wider instead are
trained alike, from scratch.
"""

from .steps import LETTERS, Letters, network_config, run_verb, train_in_pairs

ITERATIONS = 3000  # of each network; fewer measure how fast it trains
NUM_RANDOM = 2


def run(args):
    letters = Letters(args.output, args.seed)
    space, network, wider = (
        f"{LETTERS}/{kind}-shufflenetv2.yaml" for kind in ("entropy", "network", "baseline")
    )
    print("\nEvolution of the kernels within 3.75 M MACs, scored without training")
    letters.search(space, None, "search")

    print("\nTrain all networks from scratch, two at a time")
    folder = letters.output / "random"
    if not folder.exists():
        run_verb("sample", "--config-file", space, "--number", NUM_RANDOM, "--output", folder)
    configs = {"wider": wider, "found": letters.found("found", network, "search")}
    for number in range(1, NUM_RANDOM + 1):
        name = f"random-{number}"
        configs[name] = network_config(letters.output, name, network, f"random/{name}.yaml")
    train_in_pairs(letters.training(name, c, ITERATIONS) for name, c in configs.items())
    letters.compare(list(configs), ["search"])
