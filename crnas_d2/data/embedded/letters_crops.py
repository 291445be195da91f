"""The ``letters_crops`` dataset on disk: one letter per image, a folder per class as in ImageNet.

::

    letters_crops/
      made_by.json              what made this folder, and with which settings
      train/A/000003.png, ...   from the fonts and the photographs of letters_train
      val/A/000017.png, ...     likewise, other images

A backbone pretrained here has seen no font and no photograph of ``letters_test``.
"""

import os
from pathlib import Path

from .class_folders import write_class_folders
from .generated import GeneratedFolder, default_root
from .letters import CLASSES
from .letters_render import LetterScenes

IMAGES = {"train": 6000, "val": 1000}
# The split of the letters from which each split is rendered.
SOURCES = {"train": "archtrain", "val": "archval"}
VERSION = 1  # increment it whenever a pixel or a name of the dataset changes
SEED = 1  # different scenes from those of the letters dataset, which has seed 0


def letters_crops_root() -> str:
    """Return the folder of the registered dataset."""
    return default_root("letters_crops")


def make_letters_crops(
    root: str | os.PathLike,
    *,
    images: dict[str, int] = IMAGES,
    size: int = 64,
    sizes: tuple[int, int] = (30, 62),
) -> None:
    """Make the dataset in folder ``root``, unless it is there already with these settings.

    Args:
        root: the dataset's folder.
        images: number of images per split; image k does not depend on it.
        size: side of the square images, in pixels.
        sizes: smallest and largest letter, in pixels of its longer side; sampled log-uniformly.

    Raises:
        ValueError: invalid settings, or ``root`` contains files that were not made here; they are
            not touched.
    """
    if set(images) != set(SOURCES) or min(images.values()) < 1:
        raise ValueError(f"images={images}: expected a positive number for each of {list(SOURCES)}")

    def write(folder: Path, root: Path) -> None:
        write_class_folders(
            folder,
            LetterScenes(size=size, sizes=sizes, max_letters=1, seed=SEED),
            images=images,
            sources=SOURCES,
            classes=CLASSES,
            shown_as=root,
        )

    settings = {
        "version": VERSION,
        "images": dict(images),
        "size": size,
        "sizes": list(sizes),
    }
    GeneratedFolder("letters_crops", settings, ("train", "val"), write).make(root)
