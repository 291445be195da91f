"""Draw objects on photographs: an image from (seed, split, index) alone."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .photographs import load_photo, resize

OPAQUE = 128  # a pixel belongs to an object when its mask (0..255) reaches this


@dataclass(frozen=True)
class DrawnObject:
    """One object: ``box`` is (x, y, width, height), tight around its ``area`` visible pixels.

    ``source`` is plain data about the origin of its shape.
    """

    label: int
    source: dict
    box: tuple[int, int, int, int]
    area: int


@dataclass(frozen=True)
class Scene:
    """An RGB image (H, W, 3), its objects, and the crop (x, y, width, height) of a photograph."""

    pixels: np.ndarray
    photo: str
    crop: tuple[int, int, int, int]
    objects: tuple[DrawnObject, ...]


class Scenes(ABC):
    """Renders scenes of 1 to ``max_objects`` objects, identical to the pixel on every machine.

    This relies on two facts: numpy never changes the streams of ``RandomState``, and pixels are
    computed in whole numbers.

    Args:
        photos: the photographs of each split.
        size: side of the square images, in pixels.
        sizes: smallest and largest object, in pixels; sampled log-uniformly.
        max_objects: numbers from 1 to this one are equally likely.
        seed: a different seed gives a different dataset.
    """

    tries = 40  # positions to try before an object is left out
    gains: tuple[int, int]  # of a photograph, in percent per colour channel; the second excluded

    def __init__(
        self,
        *,
        photos: Mapping[str, Sequence[str]],
        size: int,
        sizes: tuple[int, int],
        max_objects: int,
        seed: int,
    ):
        self.splits = dict(photos)
        self.size = size
        self.sizes = sizes
        self.max_objects = max_objects
        self.seed = seed
        self.photos = {name: load_photo(name) for names in photos.values() for name in names}

    @abstractmethod
    def draw_object(
        self, rng: np.random.RandomState, split: str, size: int
    ) -> tuple[int, dict, np.ndarray]:
        """Sample a label, the source of a shape, and its mask (H, W), 0..255, at its final size."""

    @abstractmethod
    def draw_color(
        self, rng: np.random.RandomState, behind: np.ndarray, mask: np.ndarray
    ) -> np.ndarray:
        """Sample the colour (3,) of an object on the pixels ``behind`` it (H, W, 3)."""

    def render(self, split: str, index: int) -> Scene:
        """Render scene ``index`` of a split."""
        # A generator per image, so that image k does not depend on the number of images.
        rng = np.random.RandomState([self.seed, list(self.splits).index(split), index])
        photo, crop, pixels = self._background(rng, split)
        canvas = pixels.astype(np.int32)
        owner = np.zeros((self.size, self.size), np.int8)  # which object a pixel shows; 0 is none

        low, high = self.sizes
        draws = rng.random_sample(rng.randint(1, self.max_objects + 1))
        # The largest objects come first, because they would not fit between the others.
        placed = []
        for size in sorted((round(low * (high / low) ** u) for u in draws), reverse=True):
            label, source, mask = self.draw_object(rng, split, size)
            corner = self._free_place(rng, owner, mask)
            if corner is None:
                continue
            placed.append((label, source))
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
            objects.append(DrawnObject(label=label, source=source, box=box, area=len(rows)))
        return Scene(canvas.astype(np.uint8), photo, crop, tuple(objects))

    def _background(self, rng, split):
        """Sample a square crop of a photograph, possibly mirrored, with new gains per channel."""
        name = self.splits[split][rng.randint(len(self.splits[split]))]
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

    def _free_place(self, rng, owner, mask):
        """Sample a corner (x, y) where the object hides little of the others, or return None."""
        height, width = mask.shape
        ink = mask >= OPAQUE
        for _ in range(self.tries):
            y = rng.randint(self.size - height + 1)
            x = rng.randint(self.size - width + 1)
            below = owner[y : y + height, x : x + width]
            covered = np.bincount(below[ink], minlength=self.max_objects + 1)[1:]
            inks = np.bincount(owner.ravel(), minlength=self.max_objects + 1)[1:]
            # Objects may overlap by a tenth of the new one, and by a tenth of each one below it.
            if 10 * covered.sum() <= ink.sum() and (10 * covered <= inks).all():
                return x, y
        return None
