"""Figures as pictures: names are drawn as they are, and a file is whole."""

import io
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.text import Text

from crnas_d2.common.files import write_file


def render(figure: Figure, kind: str, **options: Any) -> bytes:
    """Return a figure as a picture: ``png``, ``svg``. A ``$`` in a name is no formula."""
    stream = io.BytesIO()
    with rc_context({"text.parse_math": False, "text.usetex": False}):  # for texts made from now on
        for text in figure.findobj(Text):
            text.set_parse_math(False)
            text.set_usetex(False)
        figure.savefig(stream, format=kind, dpi=150, **options)
    return stream.getvalue()


def write_figure(figure: Figure, path: Path) -> None:
    """Write a figure to a file, whose suffix names its format, in an existing or a new folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    settings: dict[str, Any] = {"facecolor": "white", "bbox_inches": "tight"}  # with all legends
    write_file(path, render(figure, path.suffix[1:].lower(), **settings))
