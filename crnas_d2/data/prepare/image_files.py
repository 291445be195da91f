"""Decode every image file of a dataset, as training will, for its size, digest and errors."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from tqdm import tqdm

__all__ = ["ImageFile", "read_image_files"]

_EXIF_ORIENTATION = 0x0112


class ImageFile(NamedTuple):
    """One image file: ``(width, height)`` in pixels and a digest, or its problem."""

    size: tuple[int, int] | None = None
    digest: str = ""
    problem: str = ""


def read_image_files(
    names: Sequence[str], image_root: str | os.PathLike, *, title: str = "Decoding images"
) -> dict[str, ImageFile]:
    """Decode images, with a progress bar.

    Args:
        names: file names relative to ``image_root``.

    Returns:
        keyed by name; ``problem`` is empty, ``"missing"``, or the error of the decoder. Sizes are
        those after the EXIF orientation is applied, as Detectron2 reads images.
    """
    names = list(dict.fromkeys(names))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        files = pool.map(lambda name: _read(Path(image_root) / name), names)
        return dict(zip(names, tqdm(files, total=len(names), desc=title, unit="img"), strict=True))


def _read(file: Path) -> ImageFile:
    if not file.is_file():
        return ImageFile(problem="missing")
    try:
        digest = hashlib.sha1(file.read_bytes()).hexdigest()
        with Image.open(file) as image:
            image.load()
            width, height = image.size
            if image.getexif().get(_EXIF_ORIENTATION, 1) >= 5:  # rotated by 90 degrees
                width, height = height, width
    # Pillow's decoders raise many types, SyntaxError for a broken PNG among them.
    except Exception as error:
        return ImageFile(problem=f"{type(error).__name__}: {error}")
    return ImageFile((width, height), digest)
