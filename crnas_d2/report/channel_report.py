"""The report of a channel search: the dilations that were found, and alpha over time."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from crnas_d2.runs.metrics import TrainingMetrics
from crnas_d2.runs.run import dilated_share
from crnas_d2.runs.search_result import ChannelSearchResult
from crnas_d2.space import ChannelSpace, Genotype

from .page import Page
from .sketch import draw_channels

FOUND_REPORTS: dict[str, Callable[[CfgNode, Genotype, Any], list[Path]]] = {}
"""By kind of space, what writes the files of a network that a training has found."""


def write_found_network(cfg: CfgNode, genotype: Genotype, space: Any) -> list[Path]:
    """Write what a training has found in a space into its ``OUTPUT_DIR``; return the files.

    A kind of space without an entry in :data:`FOUND_REPORTS` has ``genotype.yaml`` alone.
    """
    if (write := FOUND_REPORTS.get(space.kind)) is not None:
        return write(cfg, genotype, space)
    file = Path(cfg.OUTPUT_DIR, "genotype.yaml")
    genotype.to_yaml(file, family=cfg.MODEL.SUPERNET.FAMILY)
    return [file]


def _write_channels(cfg: CfgNode, genotype: Genotype, space: ChannelSpace) -> list[Path]:
    result = ChannelSearchResult.of(cfg, space, genotype)
    files = [Path(cfg.OUTPUT_DIR, name) for name in ("genotype.yaml", "report.html")]
    result.write_genotype(files[0], cfg.MODEL.SUPERNET.FAMILY)
    write_channel_search(result, files[1])
    return files


FOUND_REPORTS["channel"] = _write_channels


def write_channel_search(result: ChannelSearchResult, path: str | Path) -> None:
    """Write the page of a channel search."""
    page = Page("Search of the channel space")
    share = dilated_share(result.space, result.genotype)
    page.verdict(
        [
            f"Found: {100 * share:.0f} % of the channels of {len(result.space.convs)} "
            "convolutions have another dilation than (1, 1).",
            "Cost: the MACs and the parameters of the base network, whose weights the found one "
            "takes.",
            "Whether it is better shows after its training: train it and the base network, with "
            "several seeds, and compare them.",
        ]
    )
    page.facts(result.origin.facts())
    add_channel_search(page, result)
    page.write(path)


def add_channel_search(page: Page, result: ChannelSearchResult) -> None:
    """Add the shares of the dilations, convolution by convolution, and alpha over time."""
    space, genotype = result.space, result.genotype
    page.heading("Dilations that were found")
    page.text(
        "Fraction of the channel groups that chose each dilation, (height, width) relative to the "
        "base network. Parameters and MACs are those of the base network."
    )
    text = "fraction of the channels of each convolution that have each dilation"
    page.figure(draw_channels({"channels by dilation": (space, genotype)}), text)
    dilations = list(dict.fromkeys(pair for conv in space.convs for pair in conv.dilations))
    rows: list[list[object]] = []
    found = space.convs, genotype.channels, space.dilation_shares(genotype)
    for conv, choice, shares in zip(*found, strict=True):
        cells = [
            f"{100 * shares.get(pair, 0):.0f} %" if pair in conv.dilations else ""
            for pair in dilations
        ]
        rows.append([conv.name, len(choice), *cells])
    page.table(["convolution", "groups", *map(str, dilations)], rows)
    page.heading("Alpha over time")
    page.text(
        "Left: mean entropy of the groups' softmax of alpha, in nats; 0 when all are decided. "
        "Right: fraction of the groups in which each dilation is the strongest."
    )
    figure = _draw_alpha(result.metrics, space.stages)
    page.figure(figure, "entropy and shares of the dilations by iteration")


def _draw_alpha(metrics: TrainingMetrics, stages: Sequence[str]) -> Figure:
    figure = Figure(figsize=(9, 2.6 * len(stages)))
    panels = figure.subplots(len(stages), 2, sharex=True, squeeze=False)
    names = sorted({name for entry in metrics.entries for name in entry})
    for (left, right), stage in zip(panels, stages, strict=True):
        left.plot(*zip(*metrics.curve(f"alpha/{stage}/entropy"), strict=True), color="#08519c")
        left.set(ylabel=stage)
        left.set_ylim(bottom=0)
        prefix = f"alpha/{stage}/share_"
        for name in names:
            if name.startswith(prefix):
                curve = zip(*metrics.curve(name), strict=True)
                right.plot(*curve, label=name.removeprefix(prefix))
        right.set_ylim(0, 1)
        right.legend(fontsize=7, ncols=3)
        for axes in (left, right):
            axes.grid(alpha=0.3)
    for axes in panels[-1]:
        axes.set_xlabel("iteration")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.tight_layout()
    return figure
