"""The ``digits`` dataset on disk: image files and COCO JSON, made on first use.

::

    digits/
      made_by.json                  what made this folder, and with which settings
      annotations/digits_archtrain.json, _archval.json, _train.json, _test.json
      images/archtrain/000000.png, images/archval/..., images/test/...

``digits_train`` is the union of archtrain and archval, for retraining; it has no files of its own.
"""

import logging
import os
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from .digits_render import PHOTOS, DigitScenes, Scene
from .generated import GeneratedFolder, default_root, write_json

logger = logging.getLogger(__name__)

CLASSES = [str(digit) for digit in range(10)]
IMAGES = {"archtrain": 2000, "archval": 200, "test": 500}
# The JSON files, and the splits whose images each of them lists.
DATASETS = {
    "digits_archtrain": ("archtrain",),
    "digits_archval": ("archval",),
    "digits_train": ("archtrain", "archval"),
    "digits_test": ("test",),
}

VERSION = 2  # raise it whenever a pixel or a number of the dataset changes


def digits_root() -> str:
    """Where the registered dataset lies."""
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
        images: number of images per split; image k is the same whatever the number.
        size: side of the square images, in pixels.
        heights: smallest and largest height of a digit, in pixels.

    Raises:
        ValueError: ``root`` holds something that was not made here; it is left untouched.
    """
    if set(images) != set(PHOTOS) or min(images.values()) < 1:
        raise ValueError(f"images={images}: expected a positive number for each of {list(PHOTOS)}")

    def write(folder: Path, root: Path) -> None:
        scenes = DigitScenes(size=size, heights=heights)
        _write_dataset(folder, scenes, images, shown_as=root)

    settings = {
        "version": VERSION,
        "images": dict(images),
        "size": size,
        "heights": list(heights),
    }
    GeneratedFolder("digits", settings, ("annotations", "images"), write).make(root)


def _write_dataset(
    folder: Path, scenes: DigitScenes, images: dict[str, int], shown_as: Path
) -> None:
    listed = {split: ([], []) for split in images}
    logger.info("Making the digits dataset (%d images) in %s", sum(images.values()), shown_as)
    with tqdm(total=sum(images.values()), desc=f"Making digits in {shown_as}", unit="img") as bar:
        for split, count in images.items():
            (folder / "images" / split).mkdir(parents=True)
            for index in range(count):
                scene = scenes.render(split, index)
                image, annotations = _coco_records(scene, split, index)
                # More compression would take twice as long and save 3 %.
                file = folder / "images" / image["file_name"]
                Image.fromarray(scene.pixels).save(file, compress_level=3)
                listed[split][0].append(image)
                listed[split][1].extend(annotations)
                bar.update()

    (folder / "annotations").mkdir()
    for name, splits in DATASETS.items():
        content = {
            "info": {"description": f"{name}: handwritten digits on photographs"},
            # COCO's ids count from 1; Detectron2 warns about others.
            "categories": [{"id": i, "name": c} for i, c in enumerate(CLASSES, start=1)],
            "images": [image for split in splits for image in listed[split][0]],
            "annotations": [annotation for split in splits for annotation in listed[split][1]],
        }
        write_json(folder / "annotations" / f"{name}.json", content)


def _coco_records(scene: Scene, split: str, index: int) -> tuple[dict, list[dict]]:
    """A scene as COCO's image and annotations.

    Beyond COCO's keys, ``photo``, ``crop`` and ``sample`` say where each comes from.  ``area`` is
    the number of visible pixels of the digit, not that of its box.
    """
    image_id = list(PHOTOS).index(split) * 1_000_000 + index + 1
    height, width = scene.pixels.shape[:2]
    image = {
        "id": image_id,
        "file_name": f"{split}/{index:06d}.png",
        "width": width,
        "height": height,
        "photo": scene.photo,
        "crop": list(scene.crop),
    }
    annotations = [
        {
            # Above 0 always: COCO's evaluation takes an annotation of id 0 for "no match".
            "id": image_id * 10 + number,
            "image_id": image_id,
            "category_id": digit.label + 1,
            "bbox": list(digit.box),
            "area": digit.area,
            "iscrowd": 0,
            "sample": digit.sample,
        }
        for number, digit in enumerate(scene.digits)
    ]
    return image, annotations
