"""Image files: their sizes, digests and errors, and an error that names the file."""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from crnas_d2.common.files import AnyPath
from crnas_d2.common.progress import progress_bar

_EXIF_ORIENTATION = 0x0112
# How whole files of a format end. Some writers add bytes, so that others may be whole, too.
_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}


class ImageError(ValueError):
    """An image that cannot be read; the message names its file."""

    def __init__(self, message: str):
        # A DataLoader raises the error of a worker anew, with the traceback as its message, whose
        # last line is the message.
        super().__init__(message.strip().splitlines()[-1].rpartition(f"{__name__}.ImageError: ")[2])


@contextmanager
def naming(file: str) -> Iterator[None]:
    """Raise :class:`ImageError` for any error in the body, which reads an image."""
    try:
        yield
    except Exception as error:  # decoders raise many types
        raise ImageError(
            f"The image {file} cannot be used: {type(error).__name__}: "
            f"{' '.join(str(error).split())}. Restore the file, or leave it out."
        ) from error


class ImageFile(NamedTuple):
    """One image file: ``(width, height)`` in pixels and a digest, or its problem."""

    size: tuple[int, int] | None = None
    digest: str = ""
    problem: str = ""


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
            digest = hashlib.sha1(file.read_bytes()).hexdigest()
            with Image.open(file) as image:
                image.load()
                return ImageFile(_upright_size(image), digest)
        # Pillow's decoders raise many types, SyntaxError for a broken PNG among them.
        except Exception as error:
            return ImageFile(problem=f"{type(error).__name__}: {error}")

    names = list(dict.fromkeys(names))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        files = progress_bar(pool.map(read, names), total=len(names), desc=title, unit="img")
        return dict(zip(names, files, strict=True))


def find_broken(stated: Mapping[str, tuple[int, int]]) -> list[str]:
    """Return path and problem of images that are truncated, or of another size than stated.

    Reads head and tail of each file, and decodes those whose tail is not the end of an image.
    """

    def problem(file: str, stated: tuple[int, int]) -> str:
        try:
            with open(file, "rb") as stream, Image.open(stream) as image:
                size = _upright_size(image)
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


def _upright_size(image: Image.Image) -> tuple[int, int]:
    """Return ``(width, height)`` after the EXIF orientation is applied."""
    width, height = image.size
    rotated = image.getexif().get(_EXIF_ORIENTATION, 1) >= 5  # by 90 degrees
    return (height, width) if rotated else (width, height)
