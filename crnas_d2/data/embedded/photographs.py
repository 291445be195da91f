"""Photographs for backgrounds, and the arithmetic of pixels in whole numbers.

The photographs come with the scikit-image package, so nothing is downloaded. All of them are PNG
files, because JPEG decoders differ, and they are resized here, because the result of Pillow's
resizing depends on its version.
"""

import importlib.resources
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[Any]


def load_photo(name: str) -> Array:
    """Load an RGB photograph (H, W, 3) from the installed scikit-image, never from the network."""
    # Opened directly, because the functions of skimage.data download missing files.
    try:
        file = importlib.resources.files("skimage.data").joinpath(name + ".png")
    except ImportError as error:
        raise ImportError(
            "The embedded datasets need scikit-image, which is not installed: "
            "pip install 'crnas-d2[demo]'"
        ) from error
    if not file.is_file():
        raise FileNotFoundError(
            f"The installed scikit-image has no photograph {name}.png (looked for {file}); "
            "install a version that has it: pip install 'crnas-d2[demo]'"
        )
    with file.open("rb") as stream:
        return np.asarray(Image.open(stream).convert("RGB"))


def resize(pixels: Array, height: int, width: int) -> Array:
    """Resize (H, W) or (H, W, C) by linear interpolation, with antialiasing when it shrinks."""
    columns_first = _resize_rows(pixels, height).swapaxes(0, 1)
    return _resize_rows(columns_first, width).swapaxes(0, 1)


def _resize_rows(pixels: Array, length: int) -> Array:
    """Resize the first axis; the triangle filter reaches one old row, or one new row to shrink."""
    # Positions in units of 1 / (2 * length) old rows, so that the centres of all rows are integers.
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


def luma(color: Array) -> int:
    """Compute the luma 0..255 of an RGB colour (ITU-R BT.601), in whole numbers."""
    red, green, blue = (int(channel) for channel in color)
    return (299 * red + 587 * green + 114 * blue) // 1000
