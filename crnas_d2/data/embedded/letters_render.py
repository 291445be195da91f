"""Draw capital letters at many scales, in many fonts, on photographs.

A letter is rotated, sheared and stretched, and its strokes are thickened. Everything is computed in
whole numbers: the shapes have one bit per pixel, and a pixel of an image counts how many of its
``SUBPIXELS`` x ``SUBPIXELS`` points are inside the transformed shape.
"""

import math
from dataclasses import dataclass

import numpy as np

from .glyphs import FONTS, LETTERS, load_glyphs
from .photographs import luma
from .scenes import OPAQUE, Scenes

# No photograph and no font of the test set is in the training data.
_TRAINING = ("astronaut", "coffee", "camera", "brick", "grass", "moon", "coins", "ihc")
PHOTOS = {
    "archtrain": _TRAINING,
    "archval": _TRAINING,
    "test": ("chelsea", "motorcycle_left", "gravel"),
}
SPLIT_FONTS = {"archtrain": FONTS["train"], "archval": FONTS["train"], "test": FONTS["test"]}

SUBPIXELS = 4
_ONE = 4096  # unit of sine and cosine


@dataclass(frozen=True)
class Pose:
    """The transformation of a shape, in this order.

    Attributes:
        stroke: growth of the shape, in its pixels; an H is 192 pixels high.
        stretch: new width, in percent of the old one.
        shear: shift to the right per height, in percent.
        degrees: rotation, counterclockwise.
    """

    stroke: int
    stretch: int
    shear: int
    degrees: int


def grow(shape: np.ndarray, radius: int) -> np.ndarray:
    """Dilate (H, W) by an octagon, to (H + 2 * radius, W + 2 * radius)."""
    grown = np.pad(shape, radius)
    for step in range(radius):
        rows = grown.copy()
        rows[1:] |= grown[:-1]
        rows[:-1] |= grown[1:]
        # Alternately a square and a cross, which together give an octagon.
        columns = rows if step % 2 else grown
        grown = rows.copy()
        grown[:, 1:] |= columns[:, :-1]
        grown[:, :-1] |= columns[:, 1:]
    return grown


def draw_letter(shape: np.ndarray, pose: Pose, size: int) -> np.ndarray:
    """Draw a boolean shape (H, W) as a mask, 0..255, whose longer side is ``size`` pixels."""
    shape = grow(shape, pose.stroke)
    cosine = round(_ONE * math.cos(math.radians(pose.degrees)))
    sine = round(_ONE * math.sin(math.radians(pose.degrees)))
    # Rotation times shear times stretch, [[a, b], [c, d]], of (x, y) with y downwards.
    a, b = cosine * pose.stretch, -cosine * pose.shear + sine * 100
    c, d = -sine * pose.stretch, sine * pose.shear + cosine * 100

    # The bounding box after it: that of the corners of the pixels at both ends of each row.
    filled = np.flatnonzero(shape.any(axis=1))
    first = shape[filled].argmax(axis=1)
    last = shape.shape[1] - shape[filled, ::-1].argmax(axis=1)
    x = np.concatenate([first, first, last, last]).astype(np.int64)
    y = np.concatenate([filled, filled + 1, filled, filled + 1]).astype(np.int64)
    left, top = int((a * x + b * y).min()), int((c * x + d * y).min())
    width, height = int((a * x + b * y).max()) - left, int((c * x + d * y).max()) - top
    extent = max(width, height)

    # The inverse, for the centres of the subpixels, whose coordinates are multiples of
    # extent / unit. One row and one column of padding stand for all points outside the shape.
    unit = 2 * SUBPIXELS * size
    columns, rows = (-(-length * size // extent) for length in (width, height))
    x = left * unit + (2 * np.arange(columns * SUBPIXELS, dtype=np.int64) + 1) * extent
    y = top * unit + (2 * np.arange(rows * SUBPIXELS, dtype=np.int64) + 1)[:, None] * extent
    determinant = (a * d - b * c) * unit
    source_x = ((d * x - b * y) // determinant).clip(-1, shape.shape[1]) + 1
    source_y = ((a * y - c * x) // determinant).clip(-1, shape.shape[0]) + 1
    inside = np.pad(shape, 1)[source_y, source_x]  # (rows * SUBPIXELS, columns * SUBPIXELS)
    counts = inside.reshape(rows, SUBPIXELS, columns, SUBPIXELS).sum(axis=(1, 3), dtype=np.int32)
    return (counts * 255 + SUBPIXELS**2 // 2) // SUBPIXELS**2


class LetterScenes(Scenes):
    """Renders scenes of 1 to ``max_letters`` letters.

    Args:
        size: side of the square images, in pixels.
        sizes: smallest and largest letter, in pixels of its longer side; sampled log-uniformly.
        max_letters: numbers from 1 to this one are equally likely.
        seed: a different seed gives a different dataset.
    """

    gains = (40, 101)
    contrast = 70  # minimum difference in luma between a letter and the mean of its background
    # Ranges, both ends included.
    strokes = (2, 9)
    stretches = (75, 133)
    shears = (-30, 30)
    rotations = (-30, 30)

    def __init__(
        self,
        *,
        size: int = 96,
        sizes: tuple[int, int] = (10, 90),
        max_letters: int = 4,
        seed: int = 0,
    ):
        low, high = sizes
        if not 8 <= low <= high <= size:
            raise ValueError(
                f"sizes={sizes} with size={size}: expected 8 <= low <= high <= size, in pixels"
            )
        if not 1 <= max_letters <= 9:  # the id of an annotation has one digit for it
            raise ValueError(f"max_letters={max_letters}: expected 1 to 9")
        super().__init__(photos=PHOTOS, size=size, sizes=sizes, max_objects=max_letters, seed=seed)
        self.glyphs = load_glyphs()

    def draw_object(self, rng, split, size):
        label = rng.randint(len(LETTERS))
        font = SPLIT_FONTS[split][rng.randint(len(SPLIT_FONTS[split]))]
        ranges = (self.strokes, self.stretches, self.shears, self.rotations)
        pose = Pose(*(int(rng.randint(low, high + 1)) for low, high in ranges))
        return label, {"font": font}, draw_letter(self.glyphs[font][label], pose, size)

    def draw_color(self, rng, behind, mask):
        visible = behind[mask >= OPAQUE]
        background = luma(visible.sum(axis=0) // len(visible))
        color = rng.randint(0, 256, size=3)
        while abs(luma(color) - background) < self.contrast:
            color = rng.randint(0, 256, size=3)
        return color
