"""Draw handwritten digits at many scales on photographs: an image from (seed, split, index) alone.

The handwriting is scikit-learn's ``load_digits`` (1797 samples of 8x8 pixels, 16 grey levels), the
photographs are the ones inside the scikit-image package.  Both come with the packages, so nothing
is downloaded.

The result is the same to the pixel on every machine, which rests on three things: numpy never
changes the streams of ``RandomState``; images are resized here in whole numbers, as Pillow's result
depends on its version; and all photographs are PNG files, since JPEG decoders differ.
"""

import importlib.resources
from dataclasses import dataclass

import numpy as np
from PIL import Image

# No photograph and no handwriting sample serves two splits.
PHOTOS = {
    "archtrain": ("astronaut", "coffee", "camera", "brick", "grass", "moon"),
    "archval": ("coins", "ihc"),
    "test": ("chelsea", "motorcycle_left", "gravel"),
}
# Which of every twenty samples of a class, in the file's order.  Thirteen people wrote them, it
# seems one after the other: the last fifth of the file would be the hand of two or three of them,
# and how well a network reads these few hands depends on its seed more than on its body.
SAMPLES = {"archtrain": range(13), "archval": range(13, 16), "test": range(16, 20)}

CELL = 24  # pixels that one pixel of a sample becomes in the large drawing
INK = 96  # the edge of a digit, in a sample's grey levels times 15
OPAQUE = 128  # a pixel belongs to a digit when its mask (0..255) reaches this


@dataclass(frozen=True)
class Digit:
    """One digit: ``box`` is (x, y, width, height), tight around its ``area`` visible pixels."""

    label: int
    sample: int
    box: tuple[int, int, int, int]
    area: int


@dataclass(frozen=True)
class Scene:
    """An image (H, W, 3) in RGB and where it comes from; ``crop`` is (x, y, width, height)."""

    pixels: np.ndarray
    photo: str
    crop: tuple[int, int, int, int]
    digits: tuple[Digit, ...]


def load_handwriting() -> tuple[np.ndarray, np.ndarray]:
    """The samples (1797, 8, 8) with values 0..16, and their labels (1797,)."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            "The digits dataset needs scikit-learn, which is not installed: "
            "pip install 'crnas-d2[demo]'"
        ) from error
    samples = load_digits()
    return samples.images.astype(np.uint8), samples.target


def load_photo(name: str) -> np.ndarray:
    """An RGB photograph (H, W, 3) from the installed scikit-image, never from the network."""
    # The file is opened directly: functions of skimage.data would download what they do not find.
    try:
        file = importlib.resources.files("skimage.data").joinpath(name + ".png")
    except ImportError as error:
        raise ImportError(
            "The digits dataset needs scikit-image, which is not installed: "
            "pip install 'crnas-d2[demo]'"
        ) from error
    if not file.is_file():
        raise FileNotFoundError(
            f"The installed scikit-image has no photograph {name}.png (looked for {file}); "
            "install a version that has it: pip install 'crnas-d2[demo]'"
        )
    with file.open("rb") as stream:
        return np.asarray(Image.open(stream).convert("RGB"))


def resize(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize (H, W) or (H, W, C) by linear interpolation, with antialiasing when it shrinks."""
    columns_first = _resize_rows(pixels, height).swapaxes(0, 1)
    return _resize_rows(columns_first, width).swapaxes(0, 1)


def _resize_rows(pixels, length):
    # Positions in units of 1 / (2 * length) old rows, where the centres of all rows are integers.
    reach = 2 * max(len(pixels), length)
    centers = (2 * np.arange(length, dtype=np.int32) + 1) * len(pixels)
    taps = np.arange(reach // length + 2, dtype=np.int32)
    nearby = (centers - reach)[:, None] // (2 * length) + taps
    weights = np.maximum(reach - abs(centers[:, None] - (2 * nearby + 1) * length), 0)
    weights[(nearby < 0) | (nearby >= len(pixels))] = 0
    nearby = nearby.clip(0, len(pixels) - 1)
    weights = weights.reshape(*weights.shape, *(1,) * (pixels.ndim - 1))
    mixed = sum(weights[:, k] * pixels[nearby[:, k]] for k in range(len(taps)))
    total = weights.sum(axis=1, dtype=np.int32)
    return (mixed + total // 2) // total


def enlarge(cells: np.ndarray) -> np.ndarray:
    """Enlarge (N, N) to (N * CELL, N * CELL) by cubic interpolation (Catmull-Rom), exactly."""
    positions = 2 * np.arange(len(cells)) + 1
    distance = abs((2 * np.arange(CELL * len(cells)) + 1)[:, None] - CELL * positions)
    unit = 2 * CELL  # from one cell to the next
    inner = 3 * distance**3 - 5 * distance**2 * unit + 2 * unit**3
    outer = -(distance**3) + 5 * distance**2 * unit - 8 * distance * unit**2 + 4 * unit**3
    weights = np.where(distance < unit, inner, np.where(distance < 2 * unit, outer, 0))
    # Whole numbers below 2**53, so floats hold them exactly, and multiply many times faster.
    weights = weights.astype(np.float64)
    return (weights @ cells @ weights.T // (2 * unit**3) ** 2).astype(np.int64)


def draw_shape(sample: np.ndarray) -> np.ndarray:
    """Turn an 8x8 sample into a large filled mask, 0..255, cut tightly."""
    cells = np.pad(sample.astype(np.int64) * 15, 1)  # strokes at the edge end round
    # A steep ramp gives solid strokes with a soft edge.
    mask = ((enlarge(cells) - INK) * 8 + OPAQUE).clip(0, 255).astype(np.int32)
    rows, columns = np.nonzero(mask >= OPAQUE)
    return mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


def luma(color) -> int:
    """Brightness 0..255 of an RGB colour (ITU-R BT.601), in whole numbers."""
    red, green, blue = (int(channel) for channel in color)
    return (299 * red + 587 * green + 114 * blue) // 1000


class DigitScenes:
    """Renders scenes of 1 to ``max_digits`` digits.

    Args:
        size: side of the square images, in pixels.
        heights: smallest and largest height of a digit, in pixels; drawn log-uniformly.
        max_digits: the numbers from 1 to it are equally likely.
        seed: another seed gives another dataset.
    """

    tries = 40  # positions tried for a digit before the scene goes without it
    brightness = 160  # least luma of a digit; the photographs are dimmed well below it

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
        self.size = size
        self.heights = heights
        self.max_digits = max_digits
        self.seed = seed
        self.samples, self.labels = load_handwriting()
        self.photos = {name: load_photo(name) for names in PHOTOS.values() for name in names}
        self.pools = {split: self._pool(turns) for split, turns in SAMPLES.items()}

    def _pool(self, turns: range) -> list[np.ndarray]:
        """Per class, the indices of those samples whose turn it is among twenty."""
        classes = [np.flatnonzero(self.labels == label) for label in range(10)]
        return [ids[np.isin(np.arange(len(ids)) % 20, turns)] for ids in classes]

    def render(self, split: str, index: int) -> Scene:
        """Scene ``index`` of a split ("archtrain", "archval" or "test")."""
        # A generator per image: image k does not depend on how many images are made.
        rng = np.random.RandomState([self.seed, list(PHOTOS).index(split), index])
        photo, crop, pixels = self._background(rng, split)
        canvas = pixels.astype(np.int32)
        owner = np.zeros((self.size, self.size), np.int8)  # which digit a pixel shows; 0 is none

        low, high = self.heights
        draws = rng.random_sample(rng.randint(1, self.max_digits + 1))
        # The largest go first, as they would find no place between the others.
        placed = []
        for height in sorted((round(low * (high / low) ** u) for u in draws), reverse=True):
            label = rng.randint(10)
            sample = rng.choice(self.pools[split][label])
            mask = self._mask(sample, height)
            corner = self._free_place(rng, owner, mask)
            if corner is None:
                continue
            placed.append((int(label), int(sample)))
            x, y = corner
            window = (slice(y, y + mask.shape[0]), slice(x, x + mask.shape[1]))
            owner[window][mask >= OPAQUE] = len(placed)
            self._paint(rng, canvas[window], mask)

        digits = []
        for number, (label, sample) in enumerate(placed, start=1):
            rows, columns = np.nonzero(owner == number)
            x, y = int(columns.min()), int(rows.min())
            box = (x, y, int(columns.max()) + 1 - x, int(rows.max()) + 1 - y)
            digits.append(Digit(label=label, sample=sample, box=box, area=len(rows)))
        return Scene(canvas.astype(np.uint8), photo, crop, tuple(digits))

    def _background(self, rng, split):
        """A square crop of a photograph, possibly mirrored, in another light."""
        name = PHOTOS[split][rng.randint(len(PHOTOS[split]))]
        photo = self.photos[name]
        height, width, _ = photo.shape
        longest = min(height, width)
        side = rng.randint(min(self.size // 2, longest), longest + 1)
        x, y = rng.randint(width - side + 1), rng.randint(height - side + 1)
        pixels = resize(photo[y : y + side, x : x + side], self.size, self.size)
        if rng.randint(2):
            pixels = pixels[:, ::-1]
        gains = rng.randint(30, 56, size=3)  # in percent, per colour channel: dimmed
        return name, (x, y, side, side), pixels * gains // 100

    def _mask(self, sample, height):
        """The digit's mask (H, W), 0..255, at its final size."""
        shape = draw_shape(self.samples[sample])
        width = height * shape.shape[1] // shape.shape[0]
        return resize(shape, height, min(max(width, 4), self.size))

    def _free_place(self, rng, owner, mask):
        """A corner (x, y) where the digit hides little of the others, or None."""
        height, width = mask.shape
        ink = mask >= OPAQUE
        for _ in range(self.tries):
            y = rng.randint(self.size - height + 1)
            x = rng.randint(self.size - width + 1)
            below = owner[y : y + height, x : x + width]
            covered = np.bincount(below[ink], minlength=self.max_digits + 1)[1:]
            inks = np.bincount(owner.ravel(), minlength=self.max_digits + 1)[1:]
            # Digits may touch: a tenth of the new digit, and a tenth of any digit below it.
            if 10 * covered.sum() <= ink.sum() and (10 * covered <= inks).all():
                return x, y
        return None

    def _paint(self, rng, canvas, mask):
        """Paint a bright, solid colour into ``canvas`` (H, W, 3)."""
        color = rng.randint(0, 256, size=3)
        while luma(color) < self.brightness:
            color = rng.randint(0, 256, size=3)
        alpha = mask[..., None]
        canvas[:] = (canvas * (255 - alpha) + color * alpha + 127) // 255
