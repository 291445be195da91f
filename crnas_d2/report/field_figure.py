"""Effective receptive fields of networks side by side, with anchors, as in CR-NAS figure 1."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from crnas_d2.evaluation.effective_field import SHARE, EffectiveField

from .page import Page

# By name of the network and of the feature.
Fields = Mapping[str, Mapping[str, EffectiveField]]

_PANEL = 2.3  # inches
_ANCHOR, _SQUARE = "#56b4e9", "#e69f00"

FIELDS_EXPLAINED = (
    f"Size: the side, in pixels, of the smallest centred square with {100 * SHARE:.0f} % of the "
    "energy, with its 95 % interval over images. Energy of a pixel: squared gradients of all "
    "channels of a feature in the middle of the image, as a share of those of all pixels, averaged "
    "over the images. Cut off: the square reaches beyond the images, and would be larger on larger "
    "ones."
)


def field_table(fields: Fields) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of a table: each feature of each network, its stride, size, anchors."""
    head = ["feature", "network", "stride", "size", "95 % interval", "anchors"]
    names = list(dict.fromkeys(name for of in fields.values() for name in of))
    rows = []
    for name in names:
        for network, of in fields.items():
            if name not in of:
                continue
            field, interval = of[name], of[name].interval()
            between = "" if interval is None else f"{interval[0]:.0f} to {interval[1]:.0f}"
            anchors = ", ".join(f"{w:.0f}x{h:.0f}" for w, h in _anchor_sizes(field))
            size = f"{field.side()}{', cut off' if field.is_cut_off else ''}"
            rows.append([name, network, str(field.stride), size, between, anchors])
    return head, rows


def add_fields(page: Page, fields: Fields) -> None:
    """Add pictures and a table of the fields to a page."""
    sizes = {size for of in fields.values() for field in of.values() for size in field.sizes}
    number = max(len(field.sizes) for of in fields.values() for field in of.values())
    page.text(f"{FIELDS_EXPLAINED} {number} images of {_size_range(sizes)}.")
    page.figure(draw_fields(fields), "effective receptive fields, anchors and squares")
    page.table(*field_table(fields))


def draw_fields(fields: Fields) -> Figure:
    """Draw a row for each network and a column for each feature.

    A panel shows the root of the energy; the anchors are blue, the square with 95 % of the energy
    is orange. All panels have the same scale.
    """
    names = list(dict.fromkeys(name for of in fields.values() for name in of))
    figure = Figure(
        figsize=(_PANEL * len(names) + 0.4, (_PANEL + 0.25) * len(fields)), layout="constrained"
    )
    panels = figure.subplots(len(fields), len(names), squeeze=False)
    half = max(_half(field) for of in fields.values() for field in of.values())
    for row, (network, of) in zip(panels, fields.items(), strict=True):
        row[0].set_ylabel(network)
        for axes, name in zip(row, names, strict=True):
            axes.set(xticks=[], yticks=[])
            if name in of:
                axes.set_title(f"{name}: {of[name].side()} pixels", fontsize=9)
                _draw(axes, of[name], half)
            else:
                axes.set_frame_on(False)
    return figure


def _draw(axes: Axes, field: EffectiveField, half: float) -> None:
    shown = np.sqrt(field.energy)
    radius = len(shown) // 2
    # A few pixels near the middle may have a hundred times the gradient of the others.
    top = np.quantile(shown[shown > 0], 0.999)
    edge = radius + 0.5
    extent = (-edge, edge, edge, -edge)
    axes.imshow(shown, cmap="gray", vmin=0, vmax=top, extent=extent, interpolation="none")
    axes.set(xlim=(-half, half), ylim=(half, -half))
    axes.set_facecolor("black")
    for left, upper, right, lower in field.anchors:
        _frame(axes, left, upper, right - left, lower - upper, _ANCHOR)
    side = field.side()
    _frame(axes, -side / 2, -side / 2, side, side, _SQUARE)


def _frame(axes: Axes, x: float, y: float, width: float, height: float, colour: str) -> None:
    axes.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor=colour, linewidth=1.2))


def _half(field: EffectiveField) -> float:
    """Return half of the side of a panel that shows the square and the anchors."""
    return 1.1 * max(field.side() / 2, np.abs(field.anchors).max(initial=0))


def _anchor_sizes(field: EffectiveField) -> list[tuple[float, float]]:
    return [(right - left, lower - upper) for left, upper, right, lower in field.anchors]


def _size_range(sizes: set[tuple[int, int]]) -> str:
    if len(sizes) == 1:
        [(height, width)] = sizes
        return f"{height}x{width} pixels"
    short, long = [min(size) for size in sizes], [max(size) for size in sizes]
    return f"{min(short)} to {max(long)} pixels a side"
