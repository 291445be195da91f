"""Make ``glyphs.npz``, the shapes of the capital letters, from the fonts inside matplotlib.

    python -m tools.make_glyphs [glyphs.npz]

The file is part of the package, because FreeType's output depends on its version; nothing else runs
this script. ``GLYPHS_LICENSE.txt`` has the licences of the fonts.
"""

import sys
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.ft2font import FT2Font, LoadFlags

from crnas_d2.common.errors import one_line_errors
from crnas_d2.data.embedded.glyphs import FILE, FONTS, LETTERS

HEIGHT = 192  # of an H, in pixels
DPI = 72  # at which a point is a pixel


def draw_glyph(font: FT2Font, letter: str) -> np.ndarray:
    """Draw the letter's filled shape (H, W), boolean, cropped tightly."""
    font.set_text(letter, 0.0, flags=LoadFlags.NO_HINTING)
    font.draw_glyphs_to_bitmap(antialiased=True)
    filled = np.asarray(font.get_image()) >= 128
    rows, columns = np.nonzero(filled)
    return filled[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


def main(target: Path) -> None:
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    shapes, bits = [], []
    for split in FONTS.values():
        for name in split:
            font = FT2Font(folder / f"{name}.ttf")
            font.set_size(1000, DPI)  # large, to measure an H
            font.set_size(1000 * HEIGHT / len(draw_glyph(font, "H")), DPI)
            for letter in LETTERS:
                filled = draw_glyph(font, letter)
                shapes.append(filled.shape)
                bits.append(np.packbits(filled))
    fonts = [name for split in FONTS.values() for name in split]
    np.savez_compressed(
        target, fonts=fonts, shapes=np.array(shapes, np.int16), bits=np.concatenate(bits)
    )
    print(f"{target}: {len(shapes)} letters, {target.stat().st_size} bytes")


if __name__ == "__main__":
    with one_line_errors(__file__):
        main(Path(sys.argv[1]) if len(sys.argv) > 1 else FILE)
