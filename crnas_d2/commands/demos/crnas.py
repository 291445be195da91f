"""Both levels of CR-NAS on handwritten digits: supernet, search, retraining, comparison."""

import time

from .steps import DIGITS, Training, make_datasets, network_config, run_verb, search, train


def pretrain(output):
    """Pretrain the initial weights of the stage supernet, and return the override with them."""
    print("\nPretrain the supernet on single digits")
    make_datasets("handwriting_train")
    config = f"{DIGITS}/pretrain-stage.yaml"
    folder = output / "pretrain"
    train(Training("pretrain", config, folder))
    return "MODEL.WEIGHTS", folder / "model_final.pth"


def stage_level(output, weights, beside):
    """Search the number of blocks of each stage (CR-NAS section 3.3.1).

    Args:
        beside: the training that runs beside that of the supernet.
    """
    config = f"{DIGITS}/supernet-stage.yaml"
    # At the same time, because two small trainings use two cores better than one after the other.
    print("\nTrain the stage supernet and, at the same time, the baseline")
    train(
        Training("supernet", config, output / "supernet", overrides=weights),
        beside,
    )
    print("\nSearch: score every allocation of 16 blocks on archval")
    search(config, output / "supernet", output / "search")


def operation_level(output, beside):
    """Search the dilation of each block, on the found depths (CR-NAS section 3.3.2)."""
    config = output / "supernet-operation.yaml"
    config.write_text(f'_BASE_: ["search/genotype.yaml", "{DIGITS}/supernet-operation.yaml"]\n')
    supernet = output / "supernet-operation"
    print("\nTrain the operation supernet and, at the same time, the found network")
    train(Training("operations", config, supernet), beside)
    print("\nGreedy search: block after block, keep the three best prefixes")
    search(config, supernet, output / "search-operation")


def run(args):
    output = args.output
    if output.exists() and args.pretrain != (output / "pretrain").exists():
        begun = "without" if args.pretrain else "with"
        raise ValueError(
            f"{output} was started {begun} --pretrain: keep that, or choose another --output."
        )
    start = time.perf_counter()
    make_datasets("digits_train", "digits_test")
    weights = pretrain(output) if args.pretrain else ()

    baseline = f"{DIGITS}/baseline.yaml"
    stage_level(output, weights, Training("baseline", baseline, output / "baseline"))
    config = network_config(output, "searched", baseline, "search/genotype.yaml")
    searched = Training("searched", config, output / "searched")
    operation_level(output, searched)
    config = network_config(output, "dilated", baseline, "search-operation/genotype.yaml")
    print("\nTrain the dilated network with the recipe of the baseline")
    train(Training("dilated", config, output / "dilated"))

    print("\nCompare on digits_test")
    networks = [f"{name}={output / name}" for name in ("baseline", "searched", "dilated")]
    searches = ["--search", output / "search", "--search", output / "search-operation"]
    report = ("--output", output / "report.html")
    run_verb("compare", *networks, *searches, *report)
    print(f"\nDone in {(time.perf_counter() - start) / 60:.1f} minutes.")
