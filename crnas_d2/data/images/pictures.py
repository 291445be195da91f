"""The images and videos that a user names."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

IMAGES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
VIDEOS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")


@dataclass(frozen=True)
class Picture:
    """An image file, or a video.

    Attributes:
        name: relative to the folder in which it was found; with ``-2`` and so on if that is taken.
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
        files = {path.name: path}
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.is_file())
            suffixes = (*IMAGES, *VIDEOS)
            files = {
                file.relative_to(path).as_posix(): file
                for file in inside
                if file.suffix.lower() in suffixes
            }
            if not files:
                raise ValueError(
                    f"The folder {path} holds no images or videos; expected files that end with "
                    f"{', '.join(suffixes)}."
                )
        elif not path.is_file():
            raise ValueError(
                f"The input {path} does not exist; expected an image, folder or video."
            )
        for name, file in files.items():
            unused, number = name, 1
            while unused in found:
                number += 1
                unused = Path(name).with_name(f"{file.stem}-{number}{file.suffix}").as_posix()
            found[unused] = file
    return [Picture(file, name) for name, file in found.items()]
