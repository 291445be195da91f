"""Sketches of architectures: a square per block as in CR-NAS figure 4, a bar per convolution."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure, FigureBase
from matplotlib.patches import Patch, Rectangle

from crnas_d2.runs.named_genotype import NamedGenotype
from crnas_d2.space import ChannelSpace, Family, Genotype

# The first three are ordered as dilations and kernels are; then whatever else a block may do.
_COLOURS = ("#c6dbef", "#4292c6", "#08306b", "#fd8d3c", "#74c476", "#9e9ac8", "#d9d9d9", "#e377c2")
_UNIT = 0.3  # inches per block
_ROW = 2.4  # units
_MOST = 1_000  # blocks of a network, which still fit into a picture
_GAP = 0.6  # units between stages
_CENTRED: dict[str, Any] = {"ha": "center", "va": "center"}
_PANEL = 2.4  # inches per panel of channels

Families = Mapping[str, type[Family] | Family]
Stage = tuple[str, list[str]]  # its name, and the operations of its blocks
Decoded = Mapping[str, tuple[ChannelSpace, Genotype]]


def draw_networks(networks: Sequence[NamedGenotype]) -> Figure:
    """Draw networks of any space: squares, bars of decoded channels, or both."""
    bars = {n.name: (n.channels, n.genotype) for n in networks if n.channels is not None}
    squares = {n.name: n.genotype for n in networks if n.channels is None or n.genotype.ops}
    families = {n.name: n.family for n in networks}
    if not (bars and squares):
        return draw_channels(bars) if bars else draw_architectures(squares, families)
    drawing = _Squares(squares, families)
    heights = drawing.size[1], _PANEL * len(bars)
    figure = Figure(figsize=(max(drawing.size[0], 9), sum(heights)), layout="constrained")
    top, bottom = np.ravel(np.asarray(figure.subfigures(2, 1, height_ratios=heights)))
    drawing.draw(top)
    _draw_bars(bottom, bars)
    return figure


def draw_architectures(
    genotypes: Mapping[str, Genotype], families: Families | None = None
) -> Figure:
    """Draw a square for each block, coloured and labelled by its operation if it has one.

    Families name stages and operations; their stages of a single layer are not drawn.
    """
    drawing = _Squares(genotypes, families or {})
    figure = Figure(figsize=drawing.size)
    drawing.draw(figure)
    return figure


class _Squares:
    """The squares of several networks, in rows; its size is (width, height) in inches."""

    def __init__(self, genotypes: Mapping[str, Genotype], families: Families):
        # By network its stages of several layers; without a family all, without names.
        self.rows: dict[str, list[Stage]] = {}
        for network, genotype in genotypes.items():
            ops, family = genotype.ops_of_stages(), families.get(network)
            if family is None:
                self.rows[network] = [("", [f"operation {op}" for op in stage]) for stage in ops]
                continue
            self.rows[network] = [
                (stage, [family.operations[op].name for op in indices])
                for stage, indices in zip(family.stages, ops, strict=True)
                if stage not in family.single_layers
            ]
        self.has_ops = any(genotype.ops for genotype in genotypes.values())
        used = {op for stages in self.rows.values() for _, ops in stages for op in ops}
        listed = [op.name for n in genotypes if n in families for op in families[n].operations]
        known = list(dict.fromkeys([*listed, *sorted(used)]))
        # Colours are those of an operation's place in its family, so that figures agree.
        colours = dict(zip(known, itertools.cycle(_COLOURS)))
        self.colours = {op: colour for op, colour in colours.items() if op in used}
        rows = self.rows.values()
        for network, stages in self.rows.items():
            if (number := sum(len(ops) for _, ops in stages)) > _MOST:
                raise ValueError(f"{network} has {number:,} blocks; at most {_MOST:,} are drawn.")
        longest = max(sum(len(o) for _, o in stages) + _GAP * len(stages) for stages in rows)
        self.left = 0.32 * max(map(len, self.rows)) + 1  # units, for the names
        right = 0.28 * max(len(_depths(stages)) for stages in rows) + 1
        self.width = self.left + longest + right
        self.height = _ROW * len(self.rows) + (1.6 if self.has_ops else 0.4)
        self.size = (self.width * _UNIT, self.height * _UNIT)

    def draw(self, figure: FigureBase) -> None:
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(-self.left, self.width - self.left), ylim=(self.height, 0))
        axes.set_aspect("equal", anchor="W")
        axes.set_axis_off()
        for row, (name, stages) in enumerate(self.rows.items()):
            self._draw_row(axes, 0.9 + _ROW * row, name, stages)
        if self.has_ops:
            place: dict[str, Any] = {"bbox_to_anchor": (self.left / self.width, 0)}
            place |= {"loc": "lower left", "borderaxespad": 0.2, "ncols": len(self.colours)}
            handles = [Patch(color=colour, label=op) for op, colour in self.colours.items()]
            axes.legend(handles=handles, frameon=False, **place)

    def _draw_row(self, axes: Axes, top: float, name: str, stages: Sequence[Stage]) -> None:
        left, middle = 0.0, top + 0.45
        axes.text(-0.6, middle, name, ha="right", va="center", fontsize=10)
        for stage, ops in stages:
            for index, op in enumerate(ops):
                x, colour = left + index, self.colours[op]
                axes.add_patch(Rectangle((x, top), 0.9, 0.9, facecolor=colour, edgecolor="#08306b"))
                if self.has_ops:
                    luminance = float(np.dot(to_rgb(colour), (0.299, 0.587, 0.114)))
                    # The number at the end of a name, else its initial: `dilation 2`, `xception`.
                    last = op.split()[-1]
                    label = last if last.isdigit() else op[0].upper()
                    ink = "white" if luminance < 0.55 else "black"
                    axes.text(x + 0.45, middle, label, color=ink, fontsize=9, **_CENTRED)
            if stage:
                centre = left + (len(ops) - 0.1) / 2
                axes.text(centre, top - 0.15, stage, ha="center", va="bottom", fontsize=7)
            left += len(ops) + _GAP
        axes.text(left, middle, _depths(stages), va="center", fontsize=9, color="#5b6773")


def _depths(stages: Sequence[Stage]) -> str:
    return str([len(ops) for _, ops in stages])


def draw_channels(networks: Decoded) -> Figure:
    """Draw a bar for each convolution: the fraction of its channels with each dilation."""
    width = max(9, 0.32 * max(len(space.convs) for space, _ in networks.values()) + 2)
    figure = Figure(figsize=(width, _PANEL * len(networks)), layout="constrained")
    _draw_bars(figure, networks)
    return figure


def _draw_bars(figure: FigureBase, networks: Decoded) -> None:
    convs = [conv for space, _ in networks.values() for conv in space.convs]
    dilations = sorted({pair for conv in convs for pair in conv.dilations})
    shades = colormaps["viridis"](np.linspace(0.95, 0.05, len(dilations)))
    panels = figure.subplots(len(networks), squeeze=False)[:, 0]
    for axes, (name, (space, genotype)) in zip(panels, networks.items(), strict=True):
        shares = space.dilation_shares(genotype)
        tops = np.zeros(len(shares))
        for pair, shade in zip(dilations, shades, strict=True):
            heights = np.array([share.get(pair, 0.0) for share in shares])
            if heights.any():
                axes.bar(space.names, heights, bottom=tops, color=shade, label=str(pair))
            tops += heights
        axes.set(title=name, ylim=(0, 1), ylabel="share of channels")
        axes.margins(x=0.01)
        axes.tick_params(axis="x", labelrotation=90, labelsize=7)
        place: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1, 0.5), "fontsize": 7}
        axes.legend(title="dilation\n(height, width)", title_fontsize=7, **place)
