"""Draw capital letters at many scales, in many fonts, on photographs: an image from its number.

A letter is rotated, sheared and stretched, and its strokes are thickened. Everything is computed in
whole numbers, so that images are identical to the pixel on every machine: the shapes have one bit
per pixel, and a pixel of an image counts how many of its ``SUBPIXELS`` x ``SUBPIXELS`` points are
inside the transformed shape.
"""

import math
from dataclasses import dataclass

import numpy as np

from .glyphs import FONTS, LETTERS, load_glyphs
from .photographs import Array, load_photo, luma, resize

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
OPAQUE = 128  # a pixel belongs to a letter when its mask (0..255) reaches this


@dataclass(frozen=True)
class DrawnLetter:
    """One letter: ``box`` is (x, y, width, height), tight around its ``area`` visible pixels.

    ``source`` is plain data about the origin of its shape.
    """

    label: int
    source: dict[str, str]
    box: tuple[int, int, int, int]
    area: int


@dataclass(frozen=True)
class Scene:
    """An RGB image (H, W, 3), its letters, and the crop (x, y, width, height) of a photograph."""

    pixels: Array
    photo: str
    crop: tuple[int, int, int, int]
    objects: tuple[DrawnLetter, ...]


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


def grow(shape: Array, radius: int) -> Array:
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


def draw_letter(shape: Array, pose: Pose, size: int) -> Array:
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


class LetterScenes:
    """Renders scenes of 1 to ``max_letters`` letters.

    The streams of numpy's ``RandomState`` never change.

    Args:
        size: side of the square images, in pixels.
        sizes: smallest and largest letter, in pixels of its longer side; sampled log-uniformly.
        max_letters: numbers from 1 to this one are equally likely.
        seed: a different seed gives a different dataset.
    """

    tries = 40  # positions to try before a letter is left out
    gains = (40, 101)  # of a photograph, in percent per colour channel; the second excluded
    contrast = 70  # minimum difference in luma between a letter and the mean of its background
    poses = ((2, 9), (75, 133), (-30, 30), (-30, 30))  # ranges of a pose, both ends included

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
        self.size, self.sizes, self.max_letters, self.seed = size, sizes, max_letters, seed
        self.photos = {name: load_photo(name) for names in PHOTOS.values() for name in names}
        self.glyphs = load_glyphs()

    def render(self, split: str, index: int) -> Scene:
        """Render scene ``index`` of a split."""
        # A generator per image, so that image k does not depend on the number of images.
        rng = np.random.RandomState([self.seed, list(PHOTOS).index(split), index])
        photo, crop, pixels = self._background(rng, split)
        canvas = pixels.astype(np.int32)
        owner = np.zeros((self.size, self.size), np.int8)  # which object a pixel shows; 0 is none

        low, high = self.sizes
        draws = rng.random_sample(rng.randint(1, self.max_letters + 1))
        # The largest objects come first, because they would not fit between the others.
        placed = []
        for size in sorted((round(low * (high / low) ** u) for u in draws), reverse=True):
            label = rng.randint(len(LETTERS))
            font = SPLIT_FONTS[split][rng.randint(len(SPLIT_FONTS[split]))]
            pose = Pose(*(int(rng.randint(low, high + 1)) for low, high in self.poses))
            mask = draw_letter(self.glyphs[font][label], pose, size)
            corner = self._free_place(rng, owner, mask)
            if corner is None:
                continue
            placed.append((label, {"font": font}))
            x, y = corner
            window = (slice(y, y + mask.shape[0]), slice(x, x + mask.shape[1]))
            owner[window][mask >= OPAQUE] = len(placed)
            color = self.draw_color(rng, canvas[window], mask)
            # Blend in whole numbers, rounded to the nearest.
            alpha = mask[..., None]
            canvas[window] = (canvas[window] * (255 - alpha) + color * alpha + 127) // 255

        # Boxes and areas come last, because later objects may hide parts of earlier ones.
        objects = []
        for number, (label, source) in enumerate(placed, start=1):
            rows, columns = np.nonzero(owner == number)
            x, y = int(columns.min()), int(rows.min())
            box = (x, y, int(columns.max()) + 1 - x, int(rows.max()) + 1 - y)
            objects.append(DrawnLetter(label=label, source=source, box=box, area=len(rows)))
        return Scene(canvas.astype(np.uint8), photo, crop, tuple(objects))

    def _background(
        self, rng: np.random.RandomState, split: str
    ) -> tuple[str, tuple[int, int, int, int], Array]:
        """Sample a square crop of a photograph, possibly mirrored, with new gains per channel."""
        name = PHOTOS[split][rng.randint(len(PHOTOS[split]))]
        photo = self.photos[name]
        height, width, _ = photo.shape
        longest = min(height, width)
        side = rng.randint(min(self.size // 2, longest), longest + 1)
        x, y = rng.randint(width - side + 1), rng.randint(height - side + 1)
        pixels = resize(photo[y : y + side, x : x + side], self.size, self.size)
        if rng.randint(2):
            pixels = pixels[:, ::-1]
        gains = rng.randint(*self.gains, size=3)
        return name, (x, y, side, side), pixels * gains // 100

    def _free_place(
        self, rng: np.random.RandomState, owner: Array, mask: Array
    ) -> tuple[int, int] | None:
        """Sample a corner (x, y) where the object hides little of the others, or return None."""
        height, width = mask.shape
        ink = mask >= OPAQUE
        for _ in range(self.tries):
            y = rng.randint(self.size - height + 1)
            x = rng.randint(self.size - width + 1)
            below = owner[y : y + height, x : x + width]
            covered = np.bincount(below[ink], minlength=self.max_letters + 1)[1:]
            inks = np.bincount(owner.ravel(), minlength=self.max_letters + 1)[1:]
            # Objects may overlap by a tenth of the new one, and by a tenth of each one below it.
            if 10 * covered.sum() <= ink.sum() and (10 * covered <= inks).all():
                return x, y
        return None

    def draw_color(self, rng: np.random.RandomState, behind: Array, mask: Array) -> Array:
        """Sample the colour (3,) of a letter on the pixels ``behind`` it (H, W, 3)."""
        visible = behind[mask >= OPAQUE]
        background = luma(visible.sum(axis=0) // len(visible))
        color = rng.randint(0, 256, size=3)
        while abs(luma(color) - background) < self.contrast:
            color = rng.randint(0, 256, size=3)
        return color
