"""The ``digits`` dataset on disk: image files and COCO JSON, made on first use.

::

    digits/
      made_by.json                  what made this folder, and with which settings
      annotations/digits_archtrain.json, _archval.json, _train.json, _test.json
      images/archtrain/000000.png, images/archval/..., images/test/...

``digits_train`` is the union of archtrain and archval, for retraining; it has no files of its own.
"""

import os
from pathlib import Path

from .coco_folder import CONTENTS, write_coco_folder
from .digits_render import PHOTOS, DigitScenes
from .generated import GeneratedFolder, default_root

CLASSES = [str(digit) for digit in range(10)]
IMAGES = {"archtrain": 2000, "archval": 200, "test": 500}
# The JSON files, and the splits whose images each of them lists.
DATASETS = {
    "digits_archtrain": ("archtrain",),
    "digits_archval": ("archval",),
    "digits_train": ("archtrain", "archval"),
    "digits_test": ("test",),
}

VERSION = 2  # increment it whenever a pixel or a number of the dataset changes


def digits_root() -> str:
    """Return the folder of the registered dataset."""
    return default_root("digits")


def make_digits(
    root: str | os.PathLike,
    *,
    images: dict[str, int] = IMAGES,
    size: int = 192,
    heights: tuple[int, int] = (12, 185),
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
    if set(images) != set(PHOTOS) or min(images.values()) < 1:
        raise ValueError(f"images={images}: expected a positive number for each of {list(PHOTOS)}")

    def write(folder: Path, root: Path) -> None:
        write_coco_folder(
            folder,
            DigitScenes(size=size, heights=heights),
            # Always in this order, because it determines the ids.
            images={split: images[split] for split in PHOTOS},
            datasets=DATASETS,
            classes=CLASSES,
            description="handwritten digits on photographs",
            shown_as=root,
        )

    settings = {
        "version": VERSION,
        "images": dict(images),
        "size": size,
        "heights": list(heights),
    }
    GeneratedFolder("digits", settings, CONTENTS, write).make(root)
