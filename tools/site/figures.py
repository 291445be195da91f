#!/usr/bin/env python
"""Draw the figures of docs/CONCEPTS.md as SVG, into docs/figures.

They have a light background of their own, so they are legible on a dark page, too.
"""

import csv
from html import escape
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"
SCORES = DOCS / "results" / "letters-bn.csv"

INK, FAINT, PAPER = "#1f2a30", "#9aa7ad", "#fcfcfa"
PATH, SECOND = "#00796b", "#c2570c"
PALE = {PATH: "#d5ece8", SECOND: "#fbe3d2", FAINT: "#eceff0"}


class Drawing:
    """Shapes on a sheet of ``width`` x ``height`` pixels; y grows downwards."""

    def __init__(self, width: int, height: int, title: str):
        self.shapes: list[str] = []
        self.head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
            f'font-family="Helvetica, Arial, sans-serif" font-size="15" fill="{INK}">\n'
            f"<title>{escape(title)}</title>\n"
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
            'markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" fill="context-stroke"/>'
            "</marker></defs>"
        )
        self.box(0.5, 0.5, width - 1, height - 1, stroke="#d9dedf", fill=PAPER, radius=8)

    def box(self, x, y, width, height, *, stroke=INK, fill="none", radius=4, thick=1.5):
        self.shapes.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="{radius}" '
            f'fill="{fill}" stroke="{stroke}" stroke-width="{thick}"/>'
        )

    def text(self, x, y, words, *, size=15, fill=INK, anchor="middle", weight="normal", turn=0):
        turned = f' transform="rotate({turn} {x} {y})"' if turn else ""
        self.shapes.append(
            f'<text x="{x}" y="{y}" font-size="{size}" fill="{fill}" text-anchor="{anchor}" '
            f'font-weight="{weight}"{turned}>{escape(words)}</text>'
        )

    def line(self, *points, stroke=INK, thick=1.5, arrow=False, dash=""):
        tip = ' marker-end="url(#tip)"' if arrow else ""
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        path = " ".join(f"{x},{y}" for x, y in points)
        self.shapes.append(
            f'<polyline points="{path}" fill="none" stroke="{stroke}" '
            f'stroke-width="{thick}"{tip}{dashed}/>'
        )

    def dot(self, x, y, radius=4, *, fill=INK):
        self.shapes.append(f'<circle cx="{x}" cy="{y}" r="{radius}" fill="{fill}"/>')

    def labelled(self, x, y, width, height, *lines, colour=INK, fill=PAPER, size=15):
        """A box with lines of text in its middle."""
        self.box(x, y, width, height, stroke=colour, fill=fill)
        first = y + height / 2 + size * 0.35 - (len(lines) - 1) * size * 0.6
        for number, words in enumerate(lines):
            self.text(x + width / 2, first + number * size * 1.2, words, size=size)

    def save(self, name: str, folder: Path) -> None:
        text = "\n".join([self.head, *self.shapes, "</svg>"])
        (folder / f"{name}.svg").write_text(f"{text}\n")


def supernet() -> Drawing:
    """Four stages with an option per number of blocks, and one path through them."""
    sheet = Drawing(860, 330, "A supernet of four stages, and one path through it")
    chosen, pitch = (3, 1, 2, 1), 136
    for stage in range(4):
        for option in (1, 2, 3):
            if option != chosen[stage]:
                _branch(sheet, 196 + stage * pitch, option, FAINT, 1.5)
    for stage, depth in enumerate(chosen):
        sheet.text(196 + stage * pitch + 43, 36, f"res{stage + 2}", weight="bold")
        _branch(sheet, 196 + stage * pitch, depth, PATH, 3)
    sheet.labelled(16, 135, 62, 50, "image")
    sheet.labelled(104, 135, 62, 50, "stem", colour=PATH, fill=PALE[PATH])
    sheet.line((78, 160), (104, 160), arrow=True)
    sheet.labelled(752, 125, 92, 70, "FPN,", "heads")
    sheet.line((710, 160), (752, 160), arrow=True, stroke=PATH, thick=3)
    sheet.text(
        430, 306, "The path of DEPTHS [3, 1, 2, 1]. Grey: not run, no gradient, not changed."
    )
    return sheet


def _branch(sheet: Drawing, left: float, blocks: int, colour: str, thick: float) -> None:
    """The blocks of one option of a stage, joined to the stages beside it."""
    middle, end = 85 + (blocks - 1) * 75, left + blocks * 32 - 6
    line = {"stroke": colour, "thick": thick}
    sheet.line((left - 30, 160), (left - 14, middle), (left, middle), **line)
    sheet.line((end, middle), (left + 92, middle), (left + 106, 160), **line)
    for block in range(blocks):
        x = left + block * 32
        sheet.box(x, middle - 13, 26, 26, fill=PALE[colour], **line)
        if block:
            sheet.line((x - 6, middle), (x, middle), **line)


def choices() -> Drawing:
    """What a choice decides in each of the three spaces."""
    sheet = Drawing(860, 300, "Three kinds of choices: stage, operation, channel")
    for left, title, words in (
        (20, "stage", "how many blocks"),
        (300, "operation", "what each block does"),
        (580, "channel", "a dilation per channel group"),
    ):
        sheet.text(left + 130, 36, title, weight="bold", size=17)
        sheet.text(left + 130, 58, words)
    for row, depth in enumerate((1, 3, 2)):
        for block in range(depth):
            colour = PATH if row == 1 else FAINT
            x, y = 60 + block * 62, 88 + row * 52
            sheet.box(x, y, 48, 34, stroke=colour, fill=PALE[colour])
            if block:
                sheet.line((x - 14, y + 17), (x, y + 17), stroke=colour)
    for place, dilation in enumerate((1, 3, 2)):
        _kernel(sheet, 342 + place * 88, 150, dilation, PATH)
        sheet.text(342 + place * 88, 224, f"dilation {dilation}", size=13)
    for group, (dilation, colour) in enumerate(
        ((1, PATH), (1, PATH), (3, SECOND), (2, INK), (1, PATH), (3, SECOND))
    ):
        fill = PALE.get(colour, "#dde3e6")
        sheet.box(610, 88 + group * 25, 96, 21, stroke=colour, fill=fill)
        sheet.text(720, 103 + group * 25, f"dilation {dilation}", size=13, anchor="start")
    for x, words in (
        (150, "DEPTHS: 3"),
        (430, "OPS: 0, 2, 1"),
        (710, "CHANNELS: 0, 0, 2, 1, 0, 2"),
    ):
        sheet.text(x, 274, words, size=14, fill=PATH, weight="bold")
    return sheet


def _kernel(sheet: Drawing, x: float, y: float, dilation: int, colour: str) -> None:
    """The 3x3 taps of a dilated convolution on a grid of 7x7."""
    for row in range(-3, 4):
        for column in range(-3, 4):
            tapped = row % dilation == 0 and column % dilation == 0
            tapped = tapped and max(abs(row), abs(column)) <= dilation
            radius = 4 if tapped else 1.5
            sheet.dot(x + column * 10, y + row * 10, radius, fill=colour if tapped else FAINT)


def search() -> Drawing:
    """The loop of a search, and what it leaves."""
    sheet = Drawing(860, 330, "What a search does with one candidate after the other")
    sheet.labelled(24, 60, 150, 62, "search space", "and budget")
    sheet.labelled(24, 190, 150, 62, "weights of the", "supernet")
    sheet.labelled(232, 60, 150, 62, "searcher", "proposes a genotype", colour=PATH, size=14)
    sheet.labelled(232, 190, 150, 62, "set the path", colour=PATH)
    sheet.labelled(424, 190, 150, 62, "calibrate BN", "on archtrain", colour=PATH)
    sheet.labelled(616, 190, 150, 62, "score", "on archval", colour=PATH)
    sheet.labelled(424, 60, 150, 62, "study", "search.db", colour=PATH)
    sheet.labelled(616, 60, 220, 62, "genotype.yaml, report.html,", "model_best.pth", size=14)
    sheet.line((174, 91), (232, 91), arrow=True)
    sheet.line((174, 221), (232, 221), arrow=True)
    sheet.line((307, 122), (307, 190), arrow=True, stroke=PATH, thick=2.5)
    sheet.line((382, 221), (424, 221), arrow=True, stroke=PATH, thick=2.5)
    sheet.line((574, 221), (616, 221), arrow=True, stroke=PATH, thick=2.5)
    sheet.line((691, 190), (691, 156), (499, 156), (499, 122), arrow=True, stroke=PATH, thick=2.5)
    sheet.line((424, 91), (382, 91), arrow=True, stroke=PATH, thick=2.5)
    sheet.line((574, 91), (616, 91), arrow=True)
    sheet.text(600, 148, "fitness", size=13, fill=PATH)
    sheet.text(403, 52, "results", size=13, fill=PATH)
    sheet.text(
        430, 300, "Nothing is trained in this loop; each worker runs it, all share the study."
    )
    return sheet


def calibration() -> Drawing:
    """The fitness of the same candidates with calibrated BN and with the statistics as they are."""
    with SCORES.open(newline="") as stream:
        rows = [(float(r["calibrated"]), float(r["as_they_are"])) for r in csv.DictReader(stream)]
    sheet = Drawing(860, 420, "AP of candidates with and without calibration of BN")
    left, low, size, most = 120, 350, 310, 55.0

    def place(calibrated, kept):
        return left + calibrated / most * size * 2, low - kept / most * size

    for value in range(0, 51, 10):
        x, y = place(value, value)
        sheet.line((x, low), (x, low + 5))
        sheet.text(x, low + 22, f"{value}", size=13)
        sheet.line((left - 5, y), (left, y))
        sheet.text(left - 10, y + 5, f"{value}", size=13, anchor="end")
    sheet.line((left, low - size - 8), (left, low), (left + 2 * size + 8, low))
    sheet.line(place(0, 0), place(55, 55), stroke=FAINT, dash="5 5")
    sheet.text(*place(41, 44), "equal", size=13, fill="#66737a")
    for calibrated, kept in rows:
        x, y = place(calibrated, kept)
        sheet.dot(round(x, 1), round(y, 1), fill=PATH)
    sheet.text(left + size, low + 50, "AP on archval, each candidate with BN statistics of its own")
    sheet.text(46, low - size / 2, "AP with the detector's statistics", turn=-90)
    return sheet


FIGURES = {
    "supernet": supernet,
    "choices": choices,
    "search": search,
    "bn-calibration": calibration,
}


def draw_all(folder: Path = DOCS / "figures") -> None:
    folder.mkdir(exist_ok=True)
    for name, draw in FIGURES.items():
        draw().save(name, folder)


if __name__ == "__main__":
    draw_all()
