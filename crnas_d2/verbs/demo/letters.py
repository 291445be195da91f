"""How many of its blocks does a trained detector need? The same AP at two thirds of the cost.

A detector of letters is trained. A search scores it without some of its blocks: every network with
0.65 of its MACs. The best one is fine-tuned; the baseline is the detector after as much further
training.
"""

from .steps import LETTERS, Letters, train

# Iterations of the trainings; the configs have more.
DETECTOR, FINETUNING = 1200, 1000


def run(args):
    letters = Letters(args.output, args.seed)
    search_blocks(letters)
    print("\nFine-tune the network that was found and, for as long, the detector itself")
    finetune = f"{LETTERS}/finetune.yaml"
    found = letters.found("found", finetune, "search")
    train(
        letters.training("found", found, FINETUNING, *letters.weights("search", "model_best.pth")),
        letters.training("baseline", finetune, FINETUNING, *letters.weights("detector")),
    )
    letters.compare(["baseline", "found"], ["search"])


def search_blocks(letters):
    """Train the detector, and search it for the blocks that it needs."""
    print("\nTrain the detector, [3, 4, 6, 3] blocks")
    letters.train_detector(f"{LETTERS}/baseline.yaml", DETECTOR)
    print("\nSearch: score every network with 0.65 of its MACs on archval")
    letters.search(f"{LETTERS}/supernet-inherit.yaml", "detector", "search")
