"""Effective receptive fields of networks side by side, with anchors, as in CR-NAS figure 1."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from crnas_d2.evaluation.effective_field import SHARE, EffectiveField

from .page import Page

Fields = Mapping[str, Mapping[str, EffectiveField]]  # by name of the network and of the feature

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
    rows = []
    for name in _features(fields):
        for network, field in ((n, of[name]) for n, of in fields.items() if name in of):
            interval = field.interval()
            between = "" if interval is None else f"{interval[0]:.0f} to {interval[1]:.0f}"
            sides = (field.anchors[:, 2:] - field.anchors[:, :2]).tolist()
            anchors = ", ".join(f"{width:.0f}x{height:.0f}" for width, height in sides)
            size = f"{field.side()}{', cut off' if field.is_cut_off else ''}"
            rows.append([name, network, str(field.stride), size, between, anchors])
    return ["feature", "network", "stride", "size", "95 % interval", "anchors"], rows


def add_fields(page: Page, fields: Fields) -> None:
    """Add pictures and a table of the fields to a page."""
    everything = [field for of in fields.values() for field in of.values()]
    number = max(len(field.sizes) for field in everything)
    sizes = {size for field in everything for size in field.sizes}
    short, long = min(map(min, sizes)), max(map(max, sizes))
    between = f"{short} to {long} pixels a side"
    if len(sizes) == 1:
        [(height, width)] = sizes
        between = f"{height}x{width} pixels"
    page.text(f"{FIELDS_EXPLAINED} {number} images of {between}.")
    page.figure(draw_fields(fields), "effective receptive fields, anchors and squares")
    page.table(*field_table(fields))


def draw_fields(fields: Fields) -> Figure:
    """Draw a row for each network and a column for each feature, all at the same scale.

    A panel shows the root of the energy; anchors are blue, the square with 95 % of it is orange.
    """
    names = _features(fields)
    size = _PANEL * len(names) + 0.4, (_PANEL + 0.25) * len(fields)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(fields), len(names), squeeze=False)
    everything = [field for of in fields.values() for field in of.values()]
    half = 1.1 * max(np.abs(f.anchors).max(initial=f.side() / 2) for f in everything)
    for row, (network, of) in zip(panels, fields.items(), strict=True):
        row[0].set_ylabel(network)
        for axes, name in zip(row, names, strict=True):
            axes.set(xticks=[], yticks=[])
            if name not in of:
                axes.set_frame_on(False)
                continue
            field = of[name]
            axes.set_title(f"{name}: {field.side()} pixels", fontsize=9)
            shown = np.sqrt(field.energy)
            # A few pixels near the middle may have a hundred times the gradient of the others.
            top, edge = np.quantile(shown[shown > 0], 0.999), len(shown) / 2
            extent = (-edge, edge, edge, -edge)
            axes.imshow(shown, cmap="gray", vmin=0, vmax=top, extent=extent, interpolation="none")
            axes.set(xlim=(-half, half), ylim=(half, -half))
            axes.set_facecolor("black")
            side = field.side() / 2
            frames: list[Any] = [(box, _ANCHOR) for box in field.anchors]
            frames.append(((-side, -side, side, side), _SQUARE))
            for (left, upper, right, lower), colour in frames:
                frame = Rectangle((left, upper), right - left, lower - upper, fill=False)
                frame.set(edgecolor=colour, linewidth=1.2)
                axes.add_patch(frame)
    return figure


def _features(fields: Fields) -> list[str]:
    return list(dict.fromkeys(name for of in fields.values() for name in of))
