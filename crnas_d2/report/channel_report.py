"""The report of a channel search: the dilations that were found, and alpha over time."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from crnas_d2.runs.run import dilated_share
from crnas_d2.runs.search_result import ChannelSearchResult
from crnas_d2.space import ChannelSpace, Genotype

from .page import Page
from .sketch import draw_channels


def write_found_network(
    genotype: Genotype,
    space: Any,
    folder: str,
    family: str,
    seed: int,
    images: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write what a training of a seed has found in a space into its folder; return the files.

    ``images`` are the settings of its image size, if that was searched, see
    :meth:`Genotype.to_yaml`.
    A kind of space without an entry in :data:`FOUND_REPORTS` has ``genotype.yaml`` alone.
    """
    if (write := FOUND_REPORTS.get(space.kind)) is not None:
        return write(genotype, space, folder, family, seed, images)
    file = Path(folder, "genotype.yaml")
    genotype.to_yaml(file, family=family, images=images)
    return [file]


def write_channel_search(
    genotype: Genotype,
    space: ChannelSpace,
    folder: str,
    family: str,
    seed: int,
    images: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write ``genotype.yaml`` and the page of a channel search into its folder; return both."""
    result = ChannelSearchResult.read(folder, seed, space, genotype)
    files = [Path(folder, name) for name in ("genotype.yaml", "report.html")]
    result.write_genotype(files[0], family, images)
    page = Page("Search of the channel space")
    page.verdict(
        [
            f"Found: {100 * dilated_share(space, genotype):.0f} % of the channels of "
            f"{len(space.convs)} convolutions have another dilation than (1, 1).",
            "Cost: the MACs and the parameters of the base network, whose weights the found one "
            "takes.",
            "Whether it is better shows after its training: train it and the base network, with "
            "several seeds, and compare them.",
        ]
    )
    page.facts(result.origin.facts())
    add_channel_search(page, result)
    page.write(files[1])
    return files


FOUND_REPORTS: dict[str, Callable[..., list[Path]]] = {"channel": write_channel_search}
"""By kind of space, what writes the files of a network that a training has found.

It is called as :func:`write_found_network`.
"""


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
    found = space.convs, genotype.channels, space.dilation_shares(genotype)
    rows: list[list[object]] = []
    for conv, choice, of in zip(*found, strict=True):
        cells = [f"{100 * of.get(d, 0):.0f} %" if d in conv.dilations else "" for d in dilations]
        rows.append([conv.name, len(choice), *cells])
    page.table(["convolution", "groups", *map(str, dilations)], rows)
    page.heading("Alpha over time")
    page.text(
        "Left: mean entropy of the groups' softmax of alpha, in nats; 0 when all are decided. "
        "Right: fraction of the groups in which each dilation is the strongest."
    )
    metrics = result.metrics
    figure = Figure(figsize=(9, 2.6 * len(space.stages)))
    panels = figure.subplots(len(space.stages), 2, sharex=True, squeeze=False)
    names = sorted({name for entry in metrics.entries for name in entry})
    for (left, right), stage in zip(panels, space.stages, strict=True):
        left.plot(*zip(*metrics.curve(f"alpha/{stage}/entropy"), strict=True), color="#08519c")
        left.set(ylabel=stage)
        left.set_ylim(bottom=0)
        prefix = f"alpha/{stage}/share_"
        for name in names:
            if name.startswith(prefix):
                label = name.removeprefix(prefix)
                right.plot(*zip(*metrics.curve(name), strict=True), label=label)
        right.set_ylim(0, 1)
        right.legend(fontsize=7, ncols=3)
        for axes in (left, right):
            axes.grid(alpha=0.3)
    for axes in panels[-1]:
        axes.set_xlabel("iteration")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.tight_layout()
    page.figure(figure, "entropy and shares of the dilations by iteration")
