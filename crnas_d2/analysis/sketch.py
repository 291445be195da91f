"""Sketches of architectures: one square per block, as in CR-NAS figure 4."""

from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from crnas_d2.space import Genotype

__all__ = ["draw_architectures"]

_COLOURS = ("#9ecae1", "#6baed6", "#3182bd", "#08519c")


def draw_architectures(genotypes: Mapping[str, Genotype]) -> Figure:
    """
    Args:
        genotypes: by the name to print beside each.
    """
    longest = max(sum(genotype.depths) for genotype in genotypes.values())
    figure = Figure(figsize=(9, 0.6 * len(genotypes) + 0.4))
    axes = figure.add_subplot()
    for row, (name, genotype) in enumerate(genotypes.items()):
        left = 0.0
        for stage, depth in enumerate(genotype.depths):
            colour = _COLOURS[stage % len(_COLOURS)]
            for _ in range(depth):
                axes.add_patch(Rectangle((left, -row), 0.8, 0.6, color=colour))
                left += 1
            left += 0.5
        axes.text(-0.5, 0.3 - row, name, ha="right", va="center")
        axes.text(left, 0.3 - row, str(list(genotype.depths)), va="center", color="#5b6773")
    axes.set_xlim(0, longest + 6)
    axes.set_ylim(-len(genotypes) + 0.8, 0.8)
    axes.set_axis_off()
    return figure
