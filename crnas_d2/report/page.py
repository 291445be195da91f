"""A single HTML file with tables and embedded pictures."""

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

__all__ = ["Page", "format_cell"]

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
       color: #1c2733; background: #fff }
h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin-top: 2.2rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .8rem; text-align: right; border-bottom: 1px solid #d9dfe5 }
th:first-child, td:first-child { text-align: left } tr.best { background: #eef6e8 }
img { max-width: 100%; height: auto } .note { color: #5b6773 }
.scroll { overflow-x: auto }
"""


class Page:
    """Collects headed tables and figures, then writes them as one file."""

    def __init__(self, title: str):
        self.title = title
        self.parts: list[str] = []

    def heading(self, text: str) -> None:
        self.parts.append(f"<h2>{html.escape(text)}</h2>")

    def text(self, text: str) -> None:
        self.parts.append(f'<p class="note">{html.escape(text)}</p>')

    def table(self, head: Sequence[str], rows: Sequence[Sequence], best: int | None = None) -> None:
        """
        Args:
            best: index of the row to highlight.
        """
        cells = "".join(f"<th>{html.escape(name)}</th>" for name in head)
        lines = [f"<tr>{cells}</tr>"]
        for index, row in enumerate(rows):
            cells = "".join(f"<td>{html.escape(format_cell(value))}</td>" for value in row)
            lines.append(f"<tr{' class=best' if index == best else ''}>{cells}</tr>")
        self.parts.append(f'<div class="scroll"><table>{"".join(lines)}</table></div>')

    def figure(self, figure: Figure, description: str) -> None:
        """
        Args:
            description: alternative text of the picture.
        """
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=110, bbox_inches="tight")
        data = base64.b64encode(stream.getvalue()).decode()
        self.parts.append(
            f'<img alt="{html.escape(description)}" src="data:image/png;base64,{data}">'
        )

    def write(self, path: str | Path) -> None:
        title = html.escape(self.title)
        Path(path).write_text(
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width">'
            f"<title>{title}</title><style>{_STYLE}</style></head>\n"
            f"<body><h1>{title}</h1>\n" + "\n".join(self.parts) + "\n</body></html>\n",
            encoding="utf-8",
        )


def format_cell(value) -> str:
    """Format metrics with two decimals, ``None`` as ``failed``, and anything else with ``str``."""
    if value is None:
        return "failed"
    return f"{value:.2f}" if isinstance(value, float) else str(value)
