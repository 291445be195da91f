"""Compare trained networks: costs, scores, training curves and detections."""

import textwrap
from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from crnas_d2.common.formats import format_cell, format_quantity
from crnas_d2.runs.comparison import Comparison
from crnas_d2.runs.results import plain
from crnas_d2.runs.run import Run, dilated_share, stage_widths
from crnas_d2.runs.search_result import SearchResult, fitness_of
from crnas_d2.space import ChannelSpace, Genotype

from .detections import draw_boxes
from .mistakes import add_mistakes
from .page import Page, add_per_class, best_of, format_range, says_exceeds, without_constant_columns
from .sketch import draw_architectures, draw_channels

_COCO_METRICS = ("AP", "AP50", "APs", "APm", "APl")
_VOC_METRICS = ("AP", "AP50", "AP75")


def comparison_table(runs: Sequence[Run]) -> tuple[list[str], list[list[str]], str]:
    """Return head and rows of the table that compares runs, and what all have in common."""
    # VOC's evaluator knows no sizes.
    sizes = any(f"bbox/{name}" in run.metrics for run in runs for name in _COCO_METRICS[2:])
    metrics = _COCO_METRICS if sizes else _VOC_METRICS
    cost = ["channels", _macs_label(runs), "parameters (body)"]
    head = ["network", "blocks per stage", *cost, "seed"]
    rows = []
    for run in runs:
        costs = map(format_quantity, (run.cost.macs, run.cost.parameters))
        seed = str(run.cfg.SEED) if run.cfg.SEED >= 0 else "none"
        scores = [format_cell(run.metrics.get(f"bbox/{metric}", "")) for metric in metrics]
        genotype, channels = run.spec.genotype, run.spec.channels
        blocks = str(list(genotype.depths))
        if genotype.ops:
            blocks += " " + " ".join("".join(map(str, ops)) for ops in genotype.ops_of_stages())
        if genotype.image_size:
            blocks += f", image size {genotype.image_size[0]}"
        if channels is not None and genotype.channels:
            blocks += f", {100 * dilated_share(channels, genotype):.0f} % dilated"
        rows.append([run.name, blocks, stage_widths(run.spec), *costs, seed, *scores])
    return without_constant_columns([*head, *metrics], rows, constant_kept=("network", *metrics))


def add_networks(page: Page, comparison: Comparison, *, num_images: int = 6) -> None:
    """Add verdict, table, architectures, training curves and detections of runs to a page."""
    runs, dataset = comparison.runs, comparison.dataset
    page.verdict(comparison_verdict(comparison))
    page.facts(comparison.origin.facts())
    page.heading("Networks")
    head, rows, same = comparison_table(runs)
    page.text(
        f"AP on {dataset}. Each row is one training: differences smaller than the spread between "
        f"seeds are not significant. Green: the highest AP. {same}".strip()
    )
    first = 0 if len(runs) > 1 else None
    page.table(head, rows, best=best_of([run.ap for run in runs]), baseline=first)
    if len({run.cost.macs for run in runs}) > 1:
        page.figure(_draw_costs(comparison), "AP against MACs")
    page.figure(draw_architectures({r.name: r.spec.genotype for r in runs}), "blocks per stage")
    decoded: dict[tuple[ChannelSpace, Genotype], list[str]] = {}  # the names of a network's runs
    for run in runs:
        if run.spec.channels is not None and run.spec.genotype.channels:
            decoded.setdefault((run.spec.channels, run.spec.genotype), []).append(run.name)
    if decoded:
        page.text("Channels by dilation, (height, width), in each convolution that was searched:")
        named = {", ".join(names): network for network, names in decoded.items()}
        page.figure(draw_channels(named), "channels by dilation in each convolution")
    add_per_class(page, {run.name: run.metrics for run in runs})
    page.heading("Training loss")
    figure = Figure(figsize=(9, 3))
    axes = figure.add_subplot()
    for run in runs:
        axes.plot(*zip(*run.log.curve("total_loss"), strict=True), label=run.name)
    axes.set(xlabel="iteration", ylabel="total loss")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    axes.grid(alpha=0.3)
    page.figure(figure, "total loss against iterations")
    page.heading(f"Detections on {dataset}")
    missing = [run.detections_file for run in runs if run.detections is None]
    if missing:
        page.text(f"Not shown: {missing[0]} is missing. Only COCO's evaluation writes it.")
        return
    page.text(
        "Randomly sampled images: the objects, and detections with a score of at least 0.5. Click "
        "on a picture to enlarge it."
    )
    detections = {run.name: run.detections or [] for run in runs}
    for image, picture in comparison.sampled_images(num_images):
        page.pictures(draw_boxes(dataset, image, picture, detections))
    add_mistakes(page, comparison)


def add_retrained(page: Page, result: SearchResult, runs: Sequence[Run]) -> None:
    """Add the fitness of candidates against the AP of their own trainings, where both are known."""
    fitness = {plain(c.genotype): fitness_of(c) for c in result.succeeded}
    both = {
        run.name: (fitness[genotype], run.ap)
        for run in runs
        if (genotype := plain(run.spec.genotype)) in fitness
    }
    if not both:
        return
    page.heading("Fitness in the search, and AP after training")
    label = f"{result.trained_metric or result.metric} in the search, on archval"
    rows = [[name, *pair] for name, pair in both.items()]
    page.table(["network", label, "AP after training"], rows)
    if len(both) < 3:  # a line through two points tells nothing
        return
    figure = Figure(figsize=(6, 4))
    axes = figure.add_subplot()
    for name, pair in both.items():
        axes.scatter(*pair, color="#3182bd")
        axes.annotate(name, pair, xytext=(4, 4), textcoords="offset points", fontsize=8)
    axes.set(xlabel=label, ylabel="AP after training")
    axes.grid(alpha=0.3)
    page.figure(figure, "fitness in the search against AP after training")


def comparison_verdict(comparison: Comparison) -> list[str]:
    """Return sentences that compare each network with the first one."""
    reference, *others = comparison.networks
    if not others:
        text = f"{reference.name}: AP {reference.ap:.2f} on {comparison.dataset}"
        if len(reference.runs) > 1:
            spread = reference.scores.std(ddof=1)
            text += f", standard deviation {spread:.2f} over {len(reference.runs)} seeds"
        return [f"{text}."]
    lines, base = [], reference.runs[0]
    for other in others:
        first, difference = other.runs[0], other.ap - reference.ap
        ours, theirs = first.cost, base.cost
        lines.append(
            f"{other.name}, {list(first.spec.genotype.depths)}: AP {other.ap:.2f} on "
            f"{comparison.dataset}, {abs(difference):.2f} {'more' if difference >= 0 else 'less'} "
            f"than {reference.name}, {list(base.spec.genotype.depths)} ({reference.ap:.2f}), with "
            f"{100 * ours.macs / theirs.macs:.0f} % of its MACs ({format_quantity(ours.macs)} of "
            f"{format_quantity(theirs.macs)}) and "
            f"{100 * ours.parameters / theirs.parameters:.0f} % of its parameters in the body."
        )
        if (interval := comparison.image_interval(other)) is None:
            lines.append("Whether that exceeds the noise of the test images is not known.")
        else:
            lines.append(
                f"That {says_exceeds(interval)} the noise of the {comparison.num_images:,} test "
                f"images: the 95 % interval of the difference is {format_range(interval)}."
            )
        if (interval := comparison.seed_interval(other)) is None:
            lines.append(
                "The noise of the seeds is not known, because each network was trained once: train "
                "both with several seeds (SEED) and name all runs."
            )
        else:
            lines.append(
                f"It {says_exceeds(interval)} the noise of the seeds ({len(other.runs)} and "
                f"{len(reference.runs)} trainings, standard deviation {comparison.spread:.2f}): "
                f"{format_range(interval)}."
            )
    return lines


def _macs_label(runs: Sequence[Run]) -> str:
    sizes = [f"{height}x{width}" for height, width in dict.fromkeys(r.input_size for r in runs)]
    return f"MACs (body, {' or '.join(sizes)})"


def _draw_costs(comparison: Comparison) -> Figure:
    """Draw AP against MACs as CR-NAS figure 5, with the interval of each network over images.

    The trainings of one network have one colour.
    """
    figure = Figure(figsize=(6, 4))
    axes = figure.add_subplot()
    amounts = [run.cost.macs for run in comparison.runs]
    middle = (min(amounts) + max(amounts)) / 2
    for network in comparison.networks:
        macs = network.runs[0].cost.macs
        [points] = axes.plot([macs] * len(network.runs), network.scores, "o", alpha=0.6)
        color = points.get_color()
        axes.plot(macs, network.ap, "_", markersize=16, color=color)
        if network.interval is not None:
            axes.plot([macs, macs], network.interval, color=color, alpha=0.4, linewidth=2)
        # Towards the middle, so that the text ends inside.
        side, offset = ("left", 6) if macs <= middle else ("right", -6)
        place, name = (macs, network.ap), textwrap.fill(network.name, 30)
        axes.annotate(name, place, (offset, 4), textcoords="offset points", ha=side, fontsize=8)
    known = any(network.interval is not None for network in comparison.networks)
    ylabel = "AP, 95 % interval over images" if known else "AP"
    axes.set(xlabel=_macs_label(comparison.runs), ylabel=ylabel)
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.margins(x=0.15, y=0.1)
    axes.grid(alpha=0.3)
    return figure
