"""A single HTML file with tables and embedded pictures, and parts that several pages have."""

import base64
import html
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

from crnas_d2.common.files import write_file
from crnas_d2.common.formats import format_cell

from .pictures import render

_FEWEST = 6  # classes for which the hardest are named

# A picture is enlarged by a checkbox beside it: a page without scripts, and each picture only once.
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
       color: #1c2733; background: #fff }
h1 { font-size: 1.6rem; line-height: 1.2 } h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .6rem 0 }
th, td { padding: .3rem .8rem; text-align: right; border-bottom: 1px solid #d9dfe5;
         white-space: nowrap }
th:first-child, td:first-child { text-align: left }
tr.best { background: #dcf0e0 } tr.baseline { background: #eef1f4 }
.note { color: #4d5966; overflow-wrap: anywhere } .scroll { overflow-x: auto }
.verdict { border-left: .35rem solid #d94801; background: #f6f8fa; padding: .4rem 1.2rem }
.verdict p { margin: .5rem 0 } .verdict p:first-child { font-size: 1.15rem; font-weight: 600 }
.facts { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: 1rem 0 }
.facts dt { color: #4d5966 } .facts dd { margin: 0; overflow-wrap: anywhere }
.row { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(18rem, 100%), 1fr));
       gap: .6rem; margin: 1rem 0 }
summary { cursor: pointer } figure { margin: 0 } figcaption { color: #4d5966; font-size: .9rem }
label { display: block; cursor: zoom-in } img { max-width: 100%; height: auto; display: block }
.row img { width: 100% } .drawn img { min-width: 40rem }
input.zoom { position: absolute; opacity: 0 }
input.zoom:focus-visible + img { outline: 3px solid #3182bd }
input.zoom:checked + img { position: fixed; inset: 0; width: 100vw; height: 100vh; z-index: 1;
       max-width: none; min-width: 0; object-fit: contain; background: #fffffff2; cursor: zoom-out }
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

    def verdict(self, lines: Sequence[str]) -> None:
        """Add what the page says in a few sentences, the most important one first."""
        paragraphs = "".join(f"<p>{html.escape(line)}</p>" for line in lines)
        self.parts.append(f'<div class="verdict">{paragraphs}</div>')

    def facts(self, facts: Mapping[str, str]) -> None:
        """Add names and values, e.g. versions and dates."""
        pairs = [map(html.escape, pair) for pair in facts.items()]
        items = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in pairs)
        self.parts.append(f'<dl class="facts">{items}</dl>')

    def table(
        self,
        head: Sequence[str],
        rows: Sequence[Sequence[object]],
        best: int | None = None,
        baseline: int | None = None,
        folded: str = "",
    ) -> None:
        """Add a table with rows to highlight, folded behind a line to click on if it has one."""
        cells = "".join(f"<th>{html.escape(name)}</th>" for name in head)
        lines = [f"<tr>{cells}</tr>"]
        for index, row in enumerate(rows):
            cells = "".join(f"<td>{html.escape(format_cell(value))}</td>" for value in row)
            mark = {baseline: " class=baseline", best: " class=best"}.get(index, "")
            lines.append(f"<tr{mark}>{cells}</tr>")
        text = f'<div class="scroll"><table>{"".join(lines)}</table></div>'
        if folded:
            text = f"<details><summary>{html.escape(folded)}</summary>{text}</details>"
        self.parts.append(text)

    def figure(self, figure: Figure, description: str) -> None:
        """Add a figure; the description is the alternative text."""
        picture = _picture("png", render(figure, "png", bbox_inches="tight"), description)
        self.parts.append(f'<div class="scroll drawn">{picture}</div>')

    def pictures(self, pictures: Mapping[str, Image.Image]) -> None:
        """Add pictures, by caption, side by side."""
        figures = []
        for caption, picture in pictures.items():
            stream = io.BytesIO()
            picture.save(stream, format="JPEG", quality=88)
            shown, caption = _picture("jpeg", stream.getvalue(), caption), html.escape(caption)
            figures.append(f"<figure>{shown}<figcaption>{caption}</figcaption></figure>")
        self.parts.append(f'<div class="row">{"".join(figures)}</div>')

    def write(self, path: str | Path) -> None:
        title = html.escape(self.title)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_file(
            path,
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width">'
            f"<title>{title}</title><style>{_STYLE}</style></head>\n"
            f"<body><h1>{title}</h1>\n" + "\n".join(self.parts) + "\n</body></html>\n",
        )


def _picture(kind: str, content: bytes, description: str) -> str:
    data, name = base64.b64encode(content).decode(), html.escape(description)
    return (
        f'<label title="click to enlarge"><input type="checkbox" class="zoom" '
        f'aria-label="enlarge: {name}"><img alt="{name}" src="data:image/{kind};base64,{data}">'
        "</label>"
    )


def without_constant_columns(
    head: Sequence[str], rows: Sequence[Sequence[Any]], constant_kept: Sequence[str] = ()
) -> tuple[list[str], list[list[Any]], str]:
    """Return head and rows without columns that tell nothing, and a sentence of what all share.

    Left out are columns whose cells are all empty or NaN, and of several rows those with the same
    value everywhere, unless they are in ``constant_kept``.
    """
    kept, same = [], []
    for column, name in enumerate(head):
        values = [row[column] for row in rows]
        if all(value in ("", "nan", "failed", None) or value != value for value in values):
            continue  # NaN differs from itself
        if len(rows) > 1 and len(set(map(str, values))) == 1 and name not in constant_kept:
            same.append(f"{name} {format_cell(values[0])}")
        else:
            kept.append(column)
    sentence = f"The same for all of them: {', '.join(same)}." if same else ""
    return [head[c] for c in kept], [[row[c] for c in kept] for row in rows], sentence


def add_per_class(
    page: Page, networks: Mapping[str, Mapping[str, float]], task: str = "bbox"
) -> None:
    """Add a table of the AP of each class, the hardest first, if the networks' metrics have it."""
    prefix = f"{task}/AP-"
    found = [item for metrics in networks.values() for item in metrics.items()]
    names = {name: None for name, ap in found if name.startswith(prefix) and math.isfinite(ap)}
    if len(names) < 2:  # of a single class, it is the AP
        return
    scores = {
        name.removeprefix(prefix): [m.get(name, math.nan) for m in networks.values()]
        for name in names
    }
    hardest = sorted(scores, key=lambda name: sum(v for v in scores[name] if math.isfinite(v)))
    page.heading("AP of each class")
    if len(hardest) >= _FEWEST:
        page.text(f"The hardest: {', '.join(hardest[:3])}; the easiest: {hardest[-1]}.")
    rows = [[name, *scores[name]] for name in hardest]
    folded = f"all {len(rows)} classes" if len(rows) > 15 else ""  # it would fill the page
    page.table(["class", *networks], rows, folded=folded)


def best_of(scores: Sequence[float]) -> int | None:
    """Return which score is the highest, if one is a number."""
    finite = [number for number, score in enumerate(scores) if math.isfinite(score)]
    return max(finite, key=lambda number: scores[number], default=None)


def format_range(interval: tuple[float, float]) -> str:
    return f"{interval[0]:.2f} to {interval[1]:.2f}"


def says_exceeds(interval: tuple[float, float]) -> str:
    """Say whether a difference with this interval exceeds its noise."""
    return "does not exceed" if interval[0] <= 0 <= interval[1] else "exceeds"
