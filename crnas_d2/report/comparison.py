"""Compare trained networks: costs, scores, training curves and detections."""

import json
from collections.abc import Sequence
from operator import mul
from pathlib import Path
from random import Random

from detectron2.data import DatasetCatalog
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from crnas_d2.common.formats import format_cell, format_quantity
from crnas_d2.runs.metrics import TrainingMetrics
from crnas_d2.runs.ranking import plain
from crnas_d2.runs.run import Run
from crnas_d2.search import Candidate
from crnas_d2.space import Genotype

from .comparison_verdict import comparison_verdict, recipe
from .detections import draw_detections
from .page import Page, without_constant_columns
from .per_class import add_per_class
from .provenance import provenance, stage_widths
from .sketch import draw_architectures, draw_channels

_COCO_METRICS = ("AP", "AP50", "APs", "APm", "APl")
_VOC_METRICS = ("AP", "AP50", "AP75")


def network_table(runs: Sequence[Run]) -> tuple[list[str], list[list[str]], str]:
    """Return head and rows of the table that compares the runs, and what all have in common.

    Raises:
        ValueError: runs tested on different datasets, or with costs at different input sizes.
    """
    _check_comparable(runs)
    # VOC's evaluator knows no sizes.
    sizes = any(f"bbox/{name}" in run.metrics for run in runs for name in _COCO_METRICS[2:])
    metrics = _COCO_METRICS if sizes else _VOC_METRICS
    height, width = runs[0].cfg.SEARCH.COST_INPUT_SIZE
    cost = ["channels", f"MACs (body, {height}x{width})", "parameters (body)"]
    head = ["network", "blocks per stage", *cost, "seed"]
    rows = [
        [
            run.name,
            str(list(run.spec.genotype.depths)) + _codes(run.spec.genotype) + _dilated(run),
            stage_widths(run.spec),
            format_quantity(run.cost.macs),
            format_quantity(run.cost.parameters),
            str(run.cfg.SEED) if run.cfg.SEED >= 0 else "none",
            *(format_cell(run.metrics.get(f"bbox/{metric}", "")) for metric in metrics),
        ]
        for run in runs
    ]
    return without_constant_columns([*head, *metrics], rows, constant_kept=("network", *metrics))


def add_networks(page: Page, runs: Sequence[Run], *, num_images: int = 6) -> None:
    """Add verdict, table, architectures, training curves and detections of the runs to a page.

    Args:
        runs: that of the network to compare with first.

    Raises:
        ValueError: see :func:`network_table`.
    """
    head, rows, same = network_table(runs)
    dataset = runs[0].cfg.DATASETS.TEST[0]
    missing = [file for run in runs if not (file := _results_file(run)).is_file()]
    predictions = (
        {} if missing else {r.name: json.loads(_results_file(r).read_text()) for r in runs}
    )
    page.verdict(comparison_verdict(runs, predictions, dataset))
    folders, seconds = (
        [run.folder for run in runs],
        sum(TrainingMetrics.read(run.folder).seconds for run in runs),
    )
    facts = provenance(runs[0].cfg, folders, seconds, "trainings, summed")
    page.facts({**facts, "seed": ", ".join(dict.fromkeys(str(run.cfg.SEED) for run in runs))})
    page.heading("Networks")
    page.text(
        f"AP on {dataset}. Each row is one training: differences smaller than the spread between "
        f"seeds are not significant. {same}".strip()
    )
    page.table(head, rows, baseline=0 if len(runs) > 1 else None)
    if len({run.cost.macs for run in runs}) > 1:
        page.figure(_ap_against_macs(runs), "AP against MACs")
    page.figure(
        draw_architectures({run.name: run.spec.genotype for run in runs}), "blocks per stage"
    )
    decoded = {}  # the names of all runs of a network, which may have several seeds
    for run in filter(_is_decoded, runs):
        decoded.setdefault((run.spec.channels, run.spec.genotype), []).append(run.name)
    if decoded:
        mixed = {", ".join(names): network for network, names in decoded.items()}
        page.text("Channels by dilation, (height, width), in each convolution that was searched:")
        page.figure(draw_channels(mixed), "channels by dilation in each convolution")
    add_per_class(page, {run.name: run.metrics for run in runs})
    page.heading("Training loss")
    page.figure(_losses(runs), "total loss against iterations")
    page.heading(f"Detections on {dataset}")
    if missing:
        page.text(f"Not shown: {missing[0]} is missing. Only COCO's evaluation writes it.")
        return
    page.text(
        "Randomly sampled images: the objects, and detections with a score of at least 0.5. Click "
        "on a picture to enlarge it."
    )
    images = DatasetCatalog.get(dataset)
    for image in Random(0).sample(images, min(num_images, len(images))):
        page.pictures(draw_detections(dataset, image, predictions))


def add_retrained(
    page: Page, candidates: Sequence[Candidate], runs: Sequence[Run], metric: str
) -> None:
    """Add the fitness of candidates against the AP of their own trainings, where both are known."""
    fitness = {plain(c.genotype): c.fitness for c in candidates if c.fitness is not None}
    both = [run for run in runs if plain(run.spec.genotype) in fitness]
    if not both:
        return
    page.heading("Fitness in the search, and AP after training")
    pairs = [(fitness[plain(run.spec.genotype)], run.metrics["bbox/AP"]) for run in both]
    rows = [[run.name, *pair] for run, pair in zip(both, pairs, strict=True)]
    page.table(["network", f"{metric} in the search, on archval", "AP after training"], rows)
    if len(both) < 3:  # a line through two points tells nothing
        return
    figure = Figure(figsize=(6, 4))
    axes = figure.add_subplot()
    for run, pair in zip(both, pairs, strict=True):
        axes.scatter(*pair, color="#3182bd")
        axes.annotate(run.name, pair, xytext=(4, 4), textcoords="offset points", fontsize=8)
    axes.set(xlabel=f"{metric} in the search, on archval", ylabel="AP after training")
    axes.grid(alpha=0.3)
    page.figure(figure, "fitness in the search against AP after training")


def _codes(genotype: Genotype) -> str:
    """Format the operations, stage by stage: `` 0 101 20100 0210122``."""
    if not genotype.ops:
        return ""
    return " " + " ".join("".join(map(str, ops)) for ops in genotype.ops_of_stages())


def _is_decoded(run: Run) -> bool:
    return bool(run.spec.genotype.channels)


def _dilated(run: Run) -> str:
    """Format the fraction of searched channels that differ from the base: ``, 63 % dilated``."""
    if not _is_decoded(run):
        return ""
    space = run.spec.channels
    widths = [conv.channels for conv in space.convs]
    plain = [shares.get((1, 1), 0.0) for shares in space.dilation_shares(run.spec.genotype)]
    share = 1 - sum(map(mul, widths, plain)) / sum(widths)
    return f", {100 * share:.0f} % dilated"


def _check_comparable(runs: Sequence[Run]) -> None:
    """Raise ValueError for runs whose scores or costs must not be in one table."""
    first = runs[0]
    for run in runs[1:]:
        for key, ours, theirs in (
            ("DATASETS.TEST", first.cfg.DATASETS.TEST, run.cfg.DATASETS.TEST),
            (
                "SEARCH.COST_INPUT_SIZE",
                first.cfg.SEARCH.COST_INPUT_SIZE,
                run.cfg.SEARCH.COST_INPUT_SIZE,
            ),
        ):
            if tuple(ours) != tuple(theirs):
                raise ValueError(
                    f"{first.name} and {run.name} cannot be compared: their {key} is "
                    f"{tuple(ours)} and {tuple(theirs)}; expected the same."
                )


def _results_file(run: Run) -> Path:
    return run.folder / "inference" / "coco_instances_results.json"


def _ap_against_macs(runs: Sequence[Run]) -> Figure:
    """Draw AP against MACs as CR-NAS figure 5; the trainings of one network have one colour."""
    figure = Figure(figsize=(6, 4))
    axes = figure.add_subplot()
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(recipe(run), []).append(run)
    for group in groups.values():
        macs, scores = group[0].cost.macs, [run.metrics["bbox/AP"] for run in group]
        [points] = axes.plot([macs] * len(group), scores, "o", alpha=0.6)
        mean = sum(scores) / len(scores)
        axes.plot(macs, mean, "_", markersize=16, color=points.get_color())
        name = ", ".join(run.name for run in group)
        axes.annotate(name, (macs, mean), xytext=(6, 4), textcoords="offset points", fontsize=8)
    height, width = runs[0].cfg.SEARCH.COST_INPUT_SIZE
    axes.set(xlabel=f"MACs (body, {height}x{width})", ylabel="AP")
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.margins(x=0.15, y=0.1)
    axes.grid(alpha=0.3)
    return figure


def _losses(runs: Sequence[Run]) -> Figure:
    figure = Figure(figsize=(9, 3))
    axes = figure.add_subplot()
    for run in runs:
        points = TrainingMetrics.read(run.folder).curve("total_loss")
        axes.plot(*zip(*points, strict=True), label=run.name)
    axes.set(xlabel="iteration", ylabel="total loss")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    axes.grid(alpha=0.3)
    return figure
