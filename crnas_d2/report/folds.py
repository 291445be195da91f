"""Networks that were trained on all folds of a dataset."""

from crnas_d2.common.formats import format_cell, format_quantity
from crnas_d2.runs.folds import FoldComparison, FoldedRun

from .page import Page, best_of, format_range, says_exceeds


def folds_table(comparison: FoldComparison) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of a table: AP over all images, of each fold, and costs."""
    first = comparison.networks[0]
    folds = [f"AP {run.dataset}" for run in first.runs]
    head = ["network", "AP", f"difference to {first.name}", "MACs (body)", *folds, "blocks"]
    rows = []
    for network in comparison.networks:
        difference = "" if network is first else _difference(comparison, network)
        blocks = dict.fromkeys(str(list(run.spec.genotype.depths)) for run in network.runs)
        aps = [format_cell(run.ap) for run in network.runs]
        costs = format_quantity(network.macs)
        row = [network.name, format_cell(network.ap), difference, costs, *aps, " ".join(blocks)]
        rows.append(row)
    return head, rows


def add_folds(page: Page, comparison: FoldComparison) -> None:
    """Add verdict and table of the networks to a page."""
    first, *others = comparison.networks
    number, folds = comparison.num_images, len(first.runs)
    verdict = [f"{first.name}: {first.ap:.2f} AP over {number} images, each tested once."]
    for network in others:
        interval = comparison.interval(network)
        verdict.append(
            f"{network.name}: {network.ap:.2f} AP at {network.macs / first.macs:.2f} of the MACs. "
            f"The difference, {_difference(comparison, network)}, {says_exceeds(interval)} the "
            f"noise of the images; {folds} folds."
        )
    page.verdict(verdict)
    page.heading("Networks")
    page.text(
        "AP is that of the detections of all folds together. The interval of a difference is over "
        "images, paired; it does not contain the noise of seeds."
    )
    best = best_of([network.ap for network in comparison.networks])
    page.table(*folds_table(comparison), best=best, baseline=0)


def _difference(comparison: FoldComparison, network: FoldedRun) -> str:
    first = comparison.networks[0]
    return f"{network.ap - first.ap:+.2f} {format_range(comparison.interval(network))}"
