"""The ``letters`` dataset on disk: image files and COCO JSON, made on first use.

::

    letters/
      made_by.json                  what made this folder, and with which settings
      annotations/letters_archtrain.json, _archval.json, _train.json, _test.json
      images/archtrain/000000.png, images/archval/..., images/test/...

``letters_train`` is the union of archtrain and archval, for retraining; it has no files of its own.
"""

import os
from pathlib import Path

from .coco_folder import CONTENTS, write_coco_folder
from .generated import GeneratedFolder, default_root
from .glyphs import LETTERS
from .letters_render import PHOTOS, LetterScenes

CLASSES = list(LETTERS)
IMAGES = {"archtrain": 6000, "archval": 1000, "test": 1500}
# The JSON files, and the splits whose images each of them lists.
DATASETS = {
    "letters_archtrain": ("archtrain",),
    "letters_archval": ("archval",),
    "letters_train": ("archtrain", "archval"),
    "letters_test": ("test",),
}

VERSION = 1  # increment it whenever a pixel or a number of the dataset changes


def letters_root() -> str:
    """Return the folder of the registered dataset."""
    return default_root("letters")


def make_letters(
    root: str | os.PathLike,
    *,
    images: dict[str, int] = IMAGES,
    size: int = 96,
    sizes: tuple[int, int] = (10, 90),
    max_letters: int = 4,
) -> None:
    """Make the dataset in folder ``root``, unless it is there already with these settings.

    Args:
        root: the dataset's folder.
        images: number of images per split; image k does not depend on it.
        size: side of the square images, in pixels.
        sizes: smallest and largest letter, in pixels of its longer side; sampled log-uniformly.
        max_letters: numbers from 1 to this one are equally likely in an image.

    Raises:
        ValueError: invalid settings, or ``root`` contains files that were not made here; they are
            not touched.
    """
    if set(images) != set(PHOTOS) or min(images.values()) < 1:
        raise ValueError(f"images={images}: expected a positive number for each of {list(PHOTOS)}")

    def write(folder: Path, root: Path) -> None:
        write_coco_folder(
            folder,
            LetterScenes(size=size, sizes=sizes, max_letters=max_letters),
            # Always in this order, because it determines the ids.
            images={split: images[split] for split in PHOTOS},
            datasets=DATASETS,
            classes=CLASSES,
            description="capital letters on photographs",
            shown_as=root,
        )

    settings = {
        "version": VERSION,
        "images": dict(images),
        "size": size,
        "sizes": list(sizes),
        "max_letters": max_letters,
    }
    GeneratedFolder("letters", settings, CONTENTS, write).make(root)
