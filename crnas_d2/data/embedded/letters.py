"""The generated datasets on disk, made on first use: ``letters`` and ``letters_crops``.

::

    letters/
      made_by.json                  what made this folder, and with which settings
      annotations/letters_archtrain.json, _archval.json, _train.json, _test.json
      images/archtrain/000000.png, images/archval/..., images/test/...
    letters_crops/
      made_by.json
      train/A/000003.png, ...       one letter per image, a folder per class as in ImageNet,
      val/A/000017.png, ...         from the fonts and the photographs of letters_train

``letters_train`` is the union of archtrain and archval, for retraining; it has no files of its own.
A backbone pretrained on the crops has seen no font and no photograph of ``letters_test``.
"""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from crnas_d2.common.files import AnyPath
from crnas_d2.common.progress import progress_bar

from .generated import GeneratedFolder, write_json
from .glyphs import LETTERS
from .scenes import PHOTOS, LetterScenes, Scene

logger = logging.getLogger(__name__)

CLASSES = list(LETTERS)
IMAGES = {"archtrain": 6000, "archval": 1000, "test": 1500}
CROPS = {"train": 6000, "val": 1000}
# The JSON files, and the splits whose images each of them lists.
DATASETS = {
    "letters_archtrain": ("archtrain",),
    "letters_archval": ("archval",),
    "letters_train": ("archtrain", "archval"),
    "letters_test": ("test",),
}
# The split of the letters from which each split of the crops is rendered.
SOURCES = {"train": "archtrain", "val": "archval"}
CROPS_SEED = 1  # other scenes than those of the letters, which have seed 0
_VERSION = 1  # increment it whenever a pixel, a number or a name of a dataset changes


def make_letters(
    root: AnyPath,
    *,
    images: Mapping[str, int] = IMAGES,
    size: int = 96,
    sizes: tuple[int, int] = (10, 90),
    max_letters: int = 4,
) -> None:
    """Make ``letters`` in folder ``root``, unless it is there already with these settings.

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
    _check_images(images, PHOTOS)

    def write(folder: Path, root: Path) -> None:
        scenes = LetterScenes(size=size, sizes=sizes, max_letters=max_letters)
        records: dict[str, list[tuple[Any, Any]]] = {split: [] for split in PHOTOS}
        # Always in this order, because it determines the ids.
        sources = {split: (split, images[split]) for split in PHOTOS}
        for split, index, scene in _rendered(scenes, sources, root):
            number = list(PHOTOS).index(split) * 1_000_000 + index + 1
            name = f"{split}/{index:06d}.png"
            records[split].append(_coco_records(scene, name, image_id=number))
            _save(scene, folder / "images" / name)
        (folder / "annotations").mkdir()
        for dataset, splits in DATASETS.items():
            listed = [record for split in splits for record in records[split]]
            content = {
                "info": {"description": f"{dataset}: capital letters on photographs"},
                # COCO's ids start at 1; Detectron2 warns about others.
                "categories": [{"id": i, "name": c} for i, c in enumerate(CLASSES, start=1)],
                "images": [image for image, _ in listed],
                "annotations": [annotation for _, some in listed for annotation in some],
            }
            write_json(folder / "annotations" / f"{dataset}.json", content)

    settings = {"version": _VERSION, "images": dict(images), "size": size, "sizes": list(sizes)}
    settings["max_letters"] = max_letters
    GeneratedFolder("letters", settings, ("annotations", "images"), write).make(root)


def make_letters_crops(
    root: AnyPath,
    *,
    images: Mapping[str, int] = CROPS,
    size: int = 64,
    sizes: tuple[int, int] = (30, 62),
) -> None:
    """Make ``letters_crops`` in folder ``root``; arguments as those of :func:`make_letters`."""
    _check_images(images, SOURCES)

    def write(folder: Path, root: Path) -> None:
        scenes = LetterScenes(size=size, sizes=sizes, max_letters=1, seed=CROPS_SEED)
        sources = {split: (SOURCES[split], count) for split, count in images.items()}
        for split, index, scene in _rendered(scenes, sources, root):
            (letter,) = scene.objects
            _save(scene, folder / split / CLASSES[letter.label] / f"{index:06d}.png")

    settings = {"version": _VERSION, "images": dict(images), "size": size, "sizes": list(sizes)}
    GeneratedFolder("letters_crops", settings, ("train", "val"), write).make(root)


def _check_images(images: Mapping[str, int], splits: Mapping[str, object]) -> None:
    if set(images) != set(splits) or min(images.values()) < 1:
        raise ValueError(f"images={images}: expected a positive number for each of {list(splits)}")


def _rendered(
    scenes: LetterScenes, sources: Mapping[str, tuple[str, int]], root: Path
) -> Iterator[tuple[str, int, Scene]]:
    """Yield split, number and scene of each image, with a progress bar.

    ``sources`` has the split of the scenes and the number of images, by split.
    """
    total = sum(count for _, count in sources.values())
    logger.info("Making the %s dataset (%d images) in %s", root.name, total, root)
    with progress_bar(total=total, desc=f"Making {root.name} in {root}", unit="img") as bar:
        for split, (source, count) in sources.items():
            for index in range(count):
                yield split, index, scenes.render(source, index)
                bar.update()


def _save(scene: Scene, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    # More compression would take twice as long and save 3 %.
    Image.fromarray(scene.pixels).save(file, compress_level=3)


def _coco_records(
    scene: Scene, file_name: str, *, image_id: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return a scene as COCO's image and annotations, with further keys that record its sources.

    ``area`` is the number of visible pixels of a letter, not of its box.
    """
    height, width = scene.pixels.shape[:2]
    image = {
        "id": image_id,
        "file_name": file_name,
        "width": width,
        "height": height,
        "photo": scene.photo,
        "crop": list(scene.crop),
    }
    annotations = [
        {
            # Never 0: COCO's evaluation treats an annotation with id 0 as "no match".
            "id": image_id * 10 + number,
            "image_id": image_id,
            "category_id": drawn.label + 1,
            "bbox": list(drawn.box),
            "area": drawn.area,
            "iscrowd": 0,
            **drawn.source,
        }
        for number, drawn in enumerate(scene.objects)
    ]
    return image, annotations
