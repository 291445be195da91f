"""Draw handwritten digits at many scales on photographs: an image from (seed, split, index) alone.

The handwriting is scikit-learn's ``load_digits`` (1797 samples of 8x8 pixels, 16 grey levels). It
comes with the package, so nothing is downloaded.
"""

import numpy as np

from .photographs import luma, resize
from .scenes import OPAQUE, Scenes

# No photograph and no handwriting sample is in two splits.
PHOTOS = {
    "archtrain": ("astronaut", "coffee", "camera", "brick", "grass", "moon"),
    "archval": ("coins", "ihc"),
    "test": ("chelsea", "motorcycle_left", "gravel"),
}
# Which of every twenty samples of a class, in the file's order. Thirteen people wrote them,
# apparently one after the other: the last fifth of the file would come from two or three of them,
# and how well a network reads so few writers depends more on its seed than on its body.
SAMPLES = {"archtrain": range(13), "archval": range(13, 16), "test": range(16, 20)}

CELL = 24  # side in the large drawing of one pixel of a sample
INK = 96  # the edge of a digit, in a sample's grey levels times 15


def load_handwriting() -> tuple[np.ndarray, np.ndarray]:
    """Load the samples (1797, 8, 8) with values 0..16, and their labels (1797,)."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            "The digits dataset needs scikit-learn, which is not installed: "
            "pip install 'crnas-d2[demo]'"
        ) from error
    samples = load_digits()
    return samples.images.astype(np.uint8), samples.target


def enlarge(cells: np.ndarray) -> np.ndarray:
    """Enlarge (N, N) to (N * CELL, N * CELL) by cubic interpolation (Catmull-Rom), exactly."""
    # Centres in units of half a pixel of the result, so all distances are whole numbers.
    positions = 2 * np.arange(len(cells)) + 1
    distance = abs((2 * np.arange(CELL * len(cells)) + 1)[:, None] - CELL * positions)
    unit = 2 * CELL  # distance between two cells
    # The cubic kernel times 2 * unit**3, (N * CELL, N).
    inner = 3 * distance**3 - 5 * distance**2 * unit + 2 * unit**3
    outer = -(distance**3) + 5 * distance**2 * unit - 8 * distance * unit**2 + 4 * unit**3
    weights = np.where(distance < unit, inner, np.where(distance < 2 * unit, outer, 0))
    # Whole numbers below 2**53: exact as floats, whose product is many times faster.
    weights = weights.astype(np.float64)
    return (weights @ cells @ weights.T // (2 * unit**3) ** 2).astype(np.int64)


def draw_shape(sample: np.ndarray) -> np.ndarray:
    """Turn an 8x8 sample into a large filled mask, 0..255, cut tightly."""
    cells = np.pad(sample.astype(np.int64) * 15, 1)  # strokes at the edge end round
    # A steep ramp gives solid strokes with a soft edge.
    mask = ((enlarge(cells) - INK) * 8 + OPAQUE).clip(0, 255).astype(np.int32)
    rows, columns = np.nonzero(mask >= OPAQUE)
    return mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


class DigitScenes(Scenes):
    """Renders scenes of 1 to ``max_digits`` digits.

    Args:
        size: side of the square images, in pixels.
        heights: smallest and largest height of a digit, in pixels; sampled log-uniformly.
        max_digits: numbers from 1 to this one are equally likely.
        seed: a different seed gives a different dataset.
    """

    brightness = 160  # minimum luma of a digit; the photographs are dimmed well below it
    gains = (30, 56)

    def __init__(
        self,
        *,
        size: int = 192,
        heights: tuple[int, int] = (12, 185),
        max_digits: int = 5,
        seed: int = 0,
    ):
        low, high = heights
        if not 8 <= low <= high <= size:
            raise ValueError(
                f"heights={heights} with size={size}: expected 8 <= low <= high <= size, in pixels"
            )
        super().__init__(photos=PHOTOS, size=size, sizes=heights, max_objects=max_digits, seed=seed)
        self.samples, self.labels = load_handwriting()
        self.pools = {split: self._pool(turns) for split, turns in SAMPLES.items()}

    def _pool(self, turns: range) -> list[np.ndarray]:
        """Return the samples of a split per class, as indices; see ``SAMPLES``."""
        classes = [np.flatnonzero(self.labels == label) for label in range(10)]
        return [ids[np.isin(np.arange(len(ids)) % 20, turns)] for ids in classes]

    def draw_object(self, rng, split, size):
        label = rng.randint(10)
        sample = rng.choice(self.pools[split][label])
        return int(label), {"sample": int(sample)}, self._mask(sample, size)

    def _mask(self, sample, height):
        """Draw the digit's mask (H, W), 0..255, at its final size."""
        shape = draw_shape(self.samples[sample])
        width = height * shape.shape[1] // shape.shape[0]
        return resize(shape, height, min(max(width, 4), self.size))

    def draw_color(self, rng, behind, mask):
        color = rng.randint(0, 256, size=3)
        while luma(color) < self.brightness:
            color = rng.randint(0, 256, size=3)
        return color
