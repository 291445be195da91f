"""Sketches of architectures: a square per block as in CR-NAS figure 4, a bar per convolution."""

from collections.abc import Mapping

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from crnas_d2.space import ChannelSpace, Genotype

__all__ = ["draw_architectures", "draw_channels"]

_COLOURS = ("#9ecae1", "#6baed6", "#3182bd", "#08519c")
_INKS = ("black", "black", "white", "white")


def draw_architectures(genotypes: Mapping[str, Genotype]) -> Figure:
    """Draw a square for each block, with the index of its operation if the genotype has any.

    Args:
        genotypes: keyed by the name to print beside each.
    """
    longest = max(sum(genotype.depths) for genotype in genotypes.values())
    figure = Figure(figsize=(9, 0.6 * len(genotypes) + 0.4))
    axes = figure.add_subplot()
    for row, (name, genotype) in enumerate(genotypes.items()):
        left = 0.0
        for stage, ops in enumerate(genotype.ops_of_stages()):
            colour, ink = _COLOURS[stage % len(_COLOURS)], _INKS[stage % len(_INKS)]
            for op in ops:
                axes.add_patch(Rectangle((left, -row), 0.8, 0.6, color=colour))
                if genotype.ops:
                    place = (left + 0.4, 0.3 - row)
                    axes.text(*place, str(op), color=ink, ha="center", va="center", fontsize=8)
                left += 1
            left += 0.5
        axes.text(-0.5, 0.3 - row, name, ha="right", va="center")
        axes.text(left, 0.3 - row, str(list(genotype.depths)), va="center", color="#5b6773")
    axes.set_xlim(0, longest + 6)
    axes.set_ylim(-len(genotypes) + 0.8, 0.8)
    axes.set_axis_off()
    return figure


def draw_channels(networks: Mapping[str, tuple[ChannelSpace, Genotype]]) -> Figure:
    """Draw a bar for each convolution: the fraction of its channels with each dilation.

    Args:
        networks: networks of a channel space, keyed by the name to print above the bars.
    """
    convs = [conv for space, _ in networks.values() for conv in space.convs]
    dilations = sorted({pair for conv in convs for pair in conv.dilations})
    shades = colormaps["viridis"](np.linspace(0.95, 0.05, len(dilations)))
    figure = Figure(figsize=(9, 1.9 * len(networks) + 0.8))
    panels = figure.subplots(len(networks), squeeze=False)[:, 0]
    for axes, (name, (space, genotype)) in zip(panels, networks.items(), strict=True):
        shares = space.dilation_shares(genotype)
        tops = np.zeros(len(shares))
        for pair, shade in zip(dilations, shades, strict=True):
            heights = np.array([share.get(pair, 0.0) for share in shares])
            if heights.any():
                axes.bar(space.names, heights, bottom=tops, color=shade, label=str(pair))
            tops += heights
        axes.set(title=name, ylim=(0, 1))
        axes.tick_params(axis="x", labelrotation=90, labelsize=7)
        axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.tight_layout()
    return figure
