"""The shapes of the capital letters in several fonts, as a file of the package holds them."""

import string
from pathlib import Path

import numpy as np

__all__ = ["FILE", "FONTS", "LETTERS", "load_glyphs"]

FILE = Path(__file__).with_name("glyphs.npz")
LETTERS = string.ascii_uppercase
# matplotlib's names. No font serves both. A slanted cut is on the side of its upright one, for the
# renderer shears letters: only the shapes of true italics are others.
FONTS = {
    "train": (
        "DejaVuSans",
        "DejaVuSans-Bold",
        "DejaVuSansMono",
        "DejaVuSerif",
        "DejaVuSerif-Italic",
        "STIXGeneralBol",
        "STIXGeneralBolIta",
        "cmr10",
        "cmti10",
        "cmmi10",
        "cmtt10",
    ),
    "test": (
        "DejaVuSansMono-Bold",
        "DejaVuSerif-Bold",
        "DejaVuSerif-BoldItalic",
        "STIXGeneral",
        "STIXGeneralItalic",
        "cmb10",
        "cmss10",
    ),
}


def load_glyphs() -> dict[str, list[np.ndarray]]:
    """Per font, the filled shapes (H, W), boolean, of A to Z; an H is 192 pixels high."""
    with np.load(FILE) as file:
        fonts, shapes, bits = file["fonts"], file["shapes"], file["bits"]
    glyphs, start = [], 0
    for height, width in shapes.tolist():
        end = start + -(-height * width // 8)
        glyphs.append(np.unpackbits(bits[start:end], count=height * width).reshape(height, width))
        start = end
    return {
        str(font): [glyph.astype(bool) for glyph in glyphs[26 * k : 26 * (k + 1)]]
        for k, font in enumerate(fonts)
    }
