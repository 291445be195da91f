"""The shapes of the capital letters in several fonts, from a file of the package."""

import string
from pathlib import Path

import numpy as np

from .photographs import Array

FILE = Path(__file__).with_name("glyphs.npz")
LETTERS = string.ascii_uppercase
# matplotlib's names. No font is in both. A slanted font is in the same part as its upright one,
# because the renderer shears letters anyway; only true italics have different shapes.
FONTS = {
    "train": (
        *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSansMono", "DejaVuSerif", "DejaVuSerif-Italic"),
        *("STIXGeneralBol", "STIXGeneralBolIta", "cmr10", "cmti10", "cmmi10", "cmtt10"),
    ),
    "test": (
        *("DejaVuSansMono-Bold", "DejaVuSerif-Bold", "DejaVuSerif-BoldItalic"),
        *("STIXGeneral", "STIXGeneralItalic", "cmb10", "cmss10"),
    ),
}


def load_glyphs() -> dict[str, list[Array]]:
    """Load the filled shapes (H, W), boolean, of A to Z per font; an H is 192 pixels high."""
    with np.load(FILE) as file:
        fonts, shapes, bits = file["fonts"], file["shapes"], file["bits"]
    # Shapes follow one another, 26 per font, one bit per pixel, each padded to whole bytes.
    glyphs, start = [], 0
    for height, width in shapes.tolist():
        end = start + -(-height * width // 8)
        glyphs.append(np.unpackbits(bits[start:end], count=height * width).reshape(height, width))
        start = end
    return {
        str(font): [glyph.astype(bool) for glyph in glyphs[26 * k : 26 * (k + 1)]]
        for k, font in enumerate(fonts)
    }
