"""Image files: their sizes, digests and errors, and what of them a network would not see."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image
from PIL.ImageFile import ImageFile as OpenedImage

from crnas_d2.common.files import AnyPath
from crnas_d2.common.progress import progress_bar

from .alike import Look, look_of
from .pixels import DEEP, deep_values, is_deep, upright_size

# How whole files of a format end. Some writers add bytes, so that others may be whole, too.
_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}


class ImageFile(NamedTuple):
    """One image file: ``(width, height)`` in pixels and a digest, or its problem.

    Attributes:
        look: what images that look alike have in common; empty for more than 8 bits.
        values: the least and the largest one, if it has more than 8 bits per channel.
        has_alpha: whether some of its pixels are not opaque, which a network does not see.
        is_in_alpha: whether the picture is in the alpha channel alone: all else is one colour.
        pages: of a TIFF file, or frames of an animation, of which the first one alone is read.
    """

    size: tuple[int, int] | None = None
    digest: str = ""
    problem: str = ""
    values: tuple[float, float] | None = None
    has_alpha: bool = False
    is_in_alpha: bool = False
    pages: int = 1
    look: Look = b""


def read_image_files(
    names: Sequence[str], image_root: AnyPath, *, title: str = "Decoding images"
) -> dict[str, ImageFile]:
    """Decode every image of a dataset, with a progress bar.

    Args:
        names: file names relative to ``image_root``.

    Returns:
        keyed by name; ``problem`` is empty, ``"missing"``, or the error of the decoder. Sizes are
        those after the EXIF orientation is applied, as Detectron2 reads images.
    """

    def read(name: str) -> ImageFile:
        file = Path(image_root, name)
        if not file.is_file():
            return ImageFile(problem="missing")
        try:
            content = file.read_bytes()
            # Not by its path, with which Pillow misreads TIFF files that are not upright.
            with Image.open(BytesIO(content)) as image:
                return _describe(image, hashlib.sha1(content).hexdigest())
        # Pillow's decoders raise many types, SyntaxError for a broken PNG among them.
        except Exception as error:
            return ImageFile(problem=f"{type(error).__name__}: {error}")

    names = list(dict.fromkeys(names))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        files = progress_bar(pool.map(read, names), total=len(names), desc=title, unit="img")
        return dict(zip(names, files, strict=True))


def _describe(image: OpenedImage, digest: str) -> ImageFile:
    """Decode an image."""
    found: dict[str, Any] = {"digest": digest}
    if is_deep(image):
        values = deep_values(image)
        found["values"] = (float(values.min()), float(values.max()))
    else:
        image.load()
        found["look"] = look_of(image)
        found["has_alpha"], found["is_in_alpha"] = judge_alpha(image)
    if image.format != "MPO":  # a photograph with what its camera adds: depth, a second eye
        found["pages"] = getattr(image, "n_frames", 1)
    return ImageFile(size=upright_size(image), **found)


def judge_alpha(image: Image.Image) -> tuple[bool, bool]:
    """Whether pixels are not opaque, and whether the picture is in the alpha channel alone."""
    if image.mode not in ("RGBA", "LA", "PA", "RGBa", "La") and "transparency" not in image.info:
        return False, False
    extrema = [channel.getextrema() for channel in image.convert("RGBA").split()]
    is_one_value = [least == most for least, most in extrema]
    return extrema[3] != (255, 255), is_one_value == [True, True, True, False]


def find_broken(stated: Mapping[str, tuple[int, int]], *, is_scaled: bool = False) -> list[str]:
    """Return path and problem of images that are truncated, or of another size than stated.

    So are images of more than 8 bits per channel, unless they are scaled (``INPUT.DEPTH_RANGE``).

    Reads head and tail of each file, and decodes those whose tail is not the end of an image.
    """

    def problem(file: str, stated: tuple[int, int]) -> str:
        try:
            with open(file, "rb") as stream, Image.open(stream) as image:
                if not is_scaled and is_deep(image):
                    return DEEP
                size = upright_size(image)
                end = _ENDS.get(image.format or "", b"")
                stream.seek(-max(1, len(end)), os.SEEK_END)
                if not end or stream.read() != end:
                    stream.seek(0)
                    with Image.open(stream) as again:
                        again.load()
        except Exception as error:  # see above
            return f"{type(error).__name__}: {error}"
        return "" if size == tuple(stated) else f"{size} pixels, but its annotations state {stated}"

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        problems = pool.map(problem, stated, stated.values(), chunksize=64)
        return [f"{name} ({why})" for name, why in zip(stated, problems, strict=True) if why]
