"""The pixels of an image, the same for training, search and prediction."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec as find_module
from typing import Any

import numpy as np
from detectron2.data.detection_utils import _apply_exif_orientation, convert_PIL_to_numpy
from detectron2.data.transforms import ResizeShortestEdge
from detectron2.utils.file_io import PathManager
from PIL import Image
from PIL.ImageFile import ImageFile as OpenedImage

from crnas_d2.common.files import AnyPath

DEEP = "more than 8 bits per channel"
SCALE = (
    "set INPUT.DEPTH_RANGE to [LOW, HIGH], the values that become 0 and 255, or convert the files "
    "to 8 bits per channel"
)
THIN = "too thin: its shorter side would be resized to 0 pixels"
WIDEN = "cut such images into parts, or raise INPUT.MAX_SIZE_TRAIN and INPUT.MAX_SIZE_TEST"
_EXIF_ORIENTATION = 0x0112
_WIDTH, _HEIGHT, _BITS_PER_SAMPLE, _PLANAR_CONFIGURATION = 256, 257, 258, 284  # tags of TIFF

Pixels = np.ndarray[Any, Any]


class ImageError(ValueError):
    """An image that cannot be used; the message names its file."""

    def __init__(self, message: str):
        # A DataLoader raises the error of a worker anew, with the traceback as its message, whose
        # last line is the message.
        super().__init__(message.strip().splitlines()[-1].rpartition(f"{__name__}.ImageError: ")[2])


@contextmanager
def naming(file: AnyPath) -> Iterator[None]:
    """Raise :class:`ImageError` for any error in the body, which reads an image."""
    try:
        yield
    except ImageError:
        raise
    except Exception as error:  # decoders raise many types
        raise ImageError(
            f"The image {file} cannot be used: {type(error).__name__}: "
            f"{' '.join(str(error).split())}. Restore the file, or leave it out."
        ) from error


def read_pixels(file: AnyPath, image_format: str, depth_range: Sequence[float] = ()) -> Pixels:
    """Read an image (H, W, C), 0 to 255, upright by its EXIF orientation, as Detectron2 does.

    Detectron2 turns most images of more than 8 bits per channel white. Here their values are mapped
    linearly, from ``depth_range`` to 0 to 255, and those outside of it are clipped.

    Args:
        depth_range: ``INPUT.DEPTH_RANGE``.

    Raises:
        ImageError: the file cannot be read, or has more than 8 bits per channel and there is no
            range.
    """
    with naming(file), PathManager.open(str(file), "rb") as stream:
        image: Image.Image = (opened := Image.open(stream))
        if is_deep(opened):
            if not depth_range:
                raise ImageError(f"The image {file} cannot be used: {DEEP}; {SCALE}.")
            image = _scaled(opened, deep_values(opened), *depth_range)
        image.load()  # Pillow itself turns a TIFF file, and Detectron2 would turn it once more
        pixels: Pixels = convert_PIL_to_numpy(_apply_exif_orientation(image), image_format)
    return pixels


def is_deep(image: OpenedImage) -> bool:
    """Whether an image, of which no pixel has been read, has more than 8 bits per channel.

    Of a colour image, Pillow reads the upper 8 bits of each channel alone.
    """
    if image.mode[0] in "IF":
        return True
    if image.format == "TIFF":
        return max(_tag(image, _BITS_PER_SAMPLE) or (1,)) > 8
    settings: Any
    codec, _, _, settings = image.tile[0] if image.tile else ("", (), 0, "")
    if image.format == "PPM" and codec.startswith("ppm"):
        return bool(settings[-1] > 255)  # the largest value
    return image.format == "PNG" and ";16" in str(settings)


def deep_values(image: OpenedImage) -> Pixels:
    """Return the values of an image of :func:`is_deep`, (H, W), or (H, W, 3) in RGB, as stored.

    Raises:
        ValueError: a layout that is not read; OpenCV, which reads those of colours, is missing.
    """
    codec = image.tile[0][0] if image.tile else ""
    # Of a PGM file, Pillow scales the values to 16 bits.
    if image.mode[0] in "IF" and not codec.startswith("ppm"):
        return np.asarray(image)
    is_turned = image.format == "TIFF" and _orientation(image) in range(2, 9)
    if is_turned or _tag(image, _PLANAR_CONFIGURATION) == 2:  # which OpenCV misreads
        how = "turned by its orientation" if is_turned else "in planes, one per colour"
        raise ValueError(f"{DEEP}, {how}; convert it to 8 bits per channel")
    if find_module("cv2") is None:
        raise ValueError(f"{DEEP}, for which OpenCV is needed: pip install 'crnas-d2[predict]'")
    import cv2

    assert image.fp is not None
    image.fp.seek(0)
    content = np.frombuffer(image.fp.read(), np.uint8)
    values = cv2.imdecode(content, cv2.IMREAD_UNCHANGED)
    if values is None:
        raise ValueError(f"{DEEP}, which OpenCV cannot read; convert it to 8 bits per channel")
    return values if values.ndim == 2 else values[:, :, 2::-1]  # without alpha


def _scaled(image: Image.Image, values: Pixels, low: float, high: float) -> Image.Image:
    scaled = np.rint(255 * (values.astype(np.float64) - low) / (high - low))
    result = Image.fromarray(np.nan_to_num(scaled).clip(0, 255).astype(np.uint8))
    result.getexif()[_EXIF_ORIENTATION] = _orientation(image)
    return result


def vanishes(width: int, height: int, shorter: int, longer: int) -> bool:
    """Whether resizing leaves no pixel of an image, as of 5000 x 4 pixels.

    Args:
        shorter, longer: ``INPUT.MIN_SIZE_*``, 0 for no resizing, and ``INPUT.MAX_SIZE_*``.
    """
    if not shorter:
        return False
    return 0 in ResizeShortestEdge.get_output_shape(height, width, shorter, longer)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Return ``(width, height)`` after the EXIF orientation is applied."""
    width, height = image.size
    if _orientation(image) not in (5, 6, 7, 8):
        return width, height
    if image.format == "TIFF":  # some versions of Pillow have swapped them
        width, height = _tag(image, _WIDTH), _tag(image, _HEIGHT)
    return height, width


def _tag(image: Image.Image, number: int) -> Any:
    """Return the value of a tag of a TIFF file; ``None`` for other files."""
    return getattr(image, "tag_v2", {}).get(number)


def _orientation(image: Image.Image) -> Any:
    try:
        return image.getexif().get(_EXIF_ORIENTATION)
    except Exception:  # of broken EXIF data, which Detectron2 ignores as well
        return None
