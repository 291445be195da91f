"""The ``handwriting`` dataset on disk: one digit per image, a folder per class as in ImageNet.

::

    handwriting/
      made_by.json              what made this folder, and with which settings
      train/0/000003.png, ...   from the handwriting and the photographs of digits_archtrain
      val/0/000017.png, ...     from those of digits_archval

A backbone pretrained here has seen none of the data of a later search or test: the samples and
photographs of ``digits_archval`` are not in train, and those of ``digits_test`` are in neither
split.
"""

import os
from pathlib import Path

from .class_folders import write_class_folders
from .digits import CLASSES
from .digits_render import DigitScenes
from .generated import GeneratedFolder, default_root

IMAGES = {"train": 2000, "val": 300}
# The split of the digits from which each split is rendered.
SOURCES = {"train": "archtrain", "val": "archval"}
VERSION = 2  # increment it whenever a pixel or a name of the dataset changes
SEED = 1  # different scenes from those of the digits dataset, which has seed 0


def handwriting_root() -> str:
    """Return the folder of the registered dataset."""
    return default_root("handwriting")


def make_handwriting(
    root: str | os.PathLike,
    *,
    images: dict[str, int] = IMAGES,
    size: int = 64,
    heights: tuple[int, int] = (52, 62),
) -> None:
    """Make the dataset in folder ``root``, unless it is there already with these settings.

    Args:
        root: the dataset's folder.
        images: number of images per split; image k does not depend on it.
        size: side of the square images, in pixels.
        heights: smallest and largest height of a digit, in pixels.

    Raises:
        ValueError: ``root`` contains files that were not made here; they are not touched.
    """
    if set(images) != set(SOURCES) or min(images.values()) < 1:
        raise ValueError(f"images={images}: expected a positive number for each of {list(SOURCES)}")

    def write(folder: Path, root: Path) -> None:
        write_class_folders(
            folder,
            DigitScenes(size=size, heights=heights, max_digits=1, seed=SEED),
            images=images,
            sources=SOURCES,
            classes=CLASSES,
            shown_as=root,
        )

    settings = {
        "version": VERSION,
        "images": dict(images),
        "size": size,
        "heights": list(heights),
    }
    GeneratedFolder("handwriting", settings, ("train", "val"), write).make(root)
