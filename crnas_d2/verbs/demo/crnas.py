"""Both levels of CR-NAS from a trained detector: the blocks of each stage, then their dilations.

The first level is that of the demo ``letters``. The second starts from what it has found: every
dilation of a block begins with the weights of that block, a supernet of them is trained, and a
greedy search decides on one block after the other.
"""

from .letters import FINETUNING, search_blocks
from .steps import LETTERS, Letters, train

OPERATIONS = 600  # iterations of the supernet of dilations


def run(args):
    letters = Letters(args.output, args.seed)
    search_blocks(letters)
    finetune = f"{LETTERS}/finetune.yaml"
    best = letters.weights("search", "model_best.pth")

    print("\nTrain the supernet of dilations and, at the same time, fine-tune the found network")
    config = letters.output / "supernet-operation.yaml"
    config.write_text(
        f'_BASE_: ["search/genotype.yaml", "{LETTERS}/supernet-inherit-operation.yaml"]\n'
    )
    found = letters.found("found", finetune, "search")
    train(
        letters.training("supernet-operation", config, OPERATIONS, *best),
        letters.training("found", found, FINETUNING, *best),
    )
    print("\nGreedy search: block after block, keep the three best prefixes")
    letters.search(config, "supernet-operation", "search-operation")

    print("\nFine-tune the dilated network and, for as long, the detector itself")
    # From the same weights as the network without dilations, so that both have the same training.
    dilated = letters.found("dilated", finetune, "search-operation")
    train(
        letters.training("dilated", dilated, FINETUNING, *best),
        letters.training("baseline", finetune, FINETUNING, *letters.weights("detector")),
    )
    letters.compare(["baseline", "found", "dilated"], ["search", "search-operation"])
