"""What a channel search found: genotype.yaml, and report.html with alpha over time."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from crnas_d2.runs.metrics import TrainingMetrics
from crnas_d2.space import ChannelSpace, Genotype

from .page import Page
from .provenance import provenance
from .sketch import draw_channels


def write_channel_search(cfg: CfgNode, genotype: Genotype, space: ChannelSpace) -> list[Path]:
    """Write ``genotype.yaml`` and ``report.html`` into the folder of a finished search.

    Args:
        cfg: whose ``OUTPUT_DIR`` has the ``metrics.json`` of the search.
        genotype: decoded from the last alpha.

    Returns:
        both files.
    """
    output = Path(cfg.OUTPUT_DIR)
    genotype.to_yaml(
        output / "genotype.yaml",
        family=cfg.MODEL.SUPERNET.FAMILY,
        comment="The strongest dilation of each channel group (NATS section 3.3). CHANNELS has a "
        "list\nfor each convolution: " + ", ".join(space.names),
        channel=space.to_config(),
    )
    page = Page("Search of the channel space")
    shares = space.dilation_shares(genotype)
    channels = [conv.channels for conv in space.convs]
    other = sum(n * (1 - each.get((1, 1), 0)) for n, each in zip(channels, shares, strict=True))
    page.verdict(
        [
            f"Found: {100 * other / sum(channels):.0f} % of the channels of {len(channels)} "
            "convolutions have another dilation than (1, 1).",
            "Cost: the MACs and the parameters of the base network, whose weights the found one "
            "takes.",
            "Whether it is better shows after its training: train it and the base network, with "
            "several seeds, and compare them.",
        ]
    )
    page.facts(provenance(cfg, [output], TrainingMetrics.read(output).seconds, "training"))
    add_channel_search(page, output, space)
    page.write(output / "report.html")
    return [output / "genotype.yaml", output / "report.html"]


FOUND_REPORTS: dict[str, Callable[[CfgNode, Genotype, Any], list[Path]]] = {
    "channel": write_channel_search
}
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


def add_channel_search(page: Page, output: str | Path, space: ChannelSpace) -> None:
    """Add the shares of the dilations, convolution by convolution, and alpha over time.

    Args:
        output: the folder of a finished search, with its ``genotype.yaml``, and the scalars of
            :meth:`crnas_d2.modeling.Supernet.summary` in its ``metrics.json``.
    """
    output = Path(output)
    genotype = Genotype.from_yaml(output / "genotype.yaml")
    page.heading("Dilations that were found")
    page.text(
        "Fraction of the channel groups that chose each dilation, (height, width) relative to the "
        "base network. Parameters and MACs are those of the base network."
    )
    dilations = list(dict.fromkeys(pair for conv in space.convs for pair in conv.dilations))
    rows = []
    for conv, choice, shares in zip(
        space.convs, genotype.channels, space.dilation_shares(genotype), strict=True
    ):
        cells = [
            f"{100 * shares.get(pair, 0):.0f} %" if pair in conv.dilations else ""
            for pair in dilations
        ]
        rows.append([conv.name, len(choice), *cells])
    page.figure(
        draw_channels({"channels by dilation": (space, genotype)}),
        "fraction of the channels of each convolution that have each dilation",
    )
    page.table(["convolution", "groups", *map(str, dilations)], rows)
    page.heading("Alpha over time")
    page.text(
        "Left: mean entropy of the groups' softmax of alpha, in nats; 0 when all are decided. "
        "Right: fraction of the groups in which each dilation is the strongest."
    )
    page.figure(
        _over_time(TrainingMetrics.read(output), space.stages),
        "entropy and shares of the dilations by iteration",
    )


def _over_time(metrics: TrainingMetrics, stages: Sequence[str]) -> Figure:
    figure = Figure(figsize=(9, 2.6 * len(stages)))
    panels = figure.subplots(len(stages), 2, sharex=True, squeeze=False)
    for (left, right), stage in zip(panels, stages, strict=True):
        prefix = f"alpha/{stage}/"
        left.plot(*zip(*metrics.curve(f"{prefix}entropy"), strict=True), color="#08519c")
        left.set(ylabel=stage)
        left.set_ylim(bottom=0)
        shares = {name for entry in metrics.entries for name in entry}
        for name in sorted(name for name in shares if name.startswith(f"{prefix}share_")):
            label = name.removeprefix(f"{prefix}share_")
            right.plot(*zip(*metrics.curve(name), strict=True), label=label)
        right.set_ylim(0, 1)
        right.legend(fontsize=7, ncols=3)
        for axes in (left, right):
            axes.grid(alpha=0.3)
    for axes in panels[-1]:
        axes.set_xlabel("iteration")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.tight_layout()
    return figure
