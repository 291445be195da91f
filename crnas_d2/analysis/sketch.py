"""Sketches of architectures: one square per block, as in CR-NAS figure 4."""

from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from crnas_d2.space import Genotype

__all__ = ["draw_architectures"]

_COLOURS = ("#9ecae1", "#6baed6", "#3182bd", "#08519c")
_INKS = ("black", "black", "white", "white")


def draw_architectures(genotypes: Mapping[str, Genotype]) -> Figure:
    """Where a genotype has operations, each square holds the index of its block's.

    Args:
        genotypes: by the name to print beside each.
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
