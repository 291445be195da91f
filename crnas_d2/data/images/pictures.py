"""The images and videos that a user names."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from detectron2.data.detection_utils import read_image

from .files import naming

IMAGES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
VIDEOS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")


@dataclass(frozen=True)
class Picture:
    """An image file, or a video.

    Attributes:
        name: relative to the folder in which it was found; unique among all pictures.
    """

    file: Path
    name: str

    @property
    def is_video(self) -> bool:
        return self.file.suffix.lower() in VIDEOS


def find_pictures(paths: Sequence[str]) -> list[Picture]:
    """Find the images and videos that the user names, and those in folders and their subfolders.

    Raises:
        ValueError: a path that does not exist, or a folder without pictures.
    """
    found: dict[str, Path] = {}
    for path in map(Path, paths):
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if _is_picture(file))
            if not files:
                raise ValueError(
                    f"The folder {path} holds no images or videos; expected files that end with "
                    f"{', '.join((*IMAGES, *VIDEOS))}."
                )
            named = [(file.relative_to(path).as_posix(), file) for file in files]
        elif not path.is_file():
            raise ValueError(
                f"The input {path} does not exist; expected an image, folder or video."
            )
        else:
            named = [(path.name, path)]
        for name, file in named:
            found[_unused(name, found)] = file
    return [Picture(file, name) for name, file in found.items()]


def _is_picture(file: Path) -> bool:
    return file.suffix.lower() in (*IMAGES, *VIDEOS) and file.is_file()


def _unused(name: str, taken: Collection[str]) -> str:
    """Return a name that no other picture has: the same, or with ``-2`` and so on."""
    path, number, unused = Path(name), 1, name
    while unused in taken:
        number += 1
        unused = path.with_name(f"{path.stem}-{number}{path.suffix}").as_posix()
    return unused


def read_picture(file: Path, image_format: str) -> np.ndarray:
    """Read an image as training does: upright by its EXIF orientation.

    Args:
        image_format: ``INPUT.FORMAT``.

    Returns:
        (H, W, C), values of 0 to 255.

    Raises:
        ImageError: it cannot be read.
    """
    with naming(str(file)):
        return read_image(str(file), format=image_format)
