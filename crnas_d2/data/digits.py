"""The ``digits`` dataset on disk: image files and COCO JSON, made on first use.

::

    digits/
      made_by.json                  what made this folder, and with which settings
      annotations/digits_archtrain.json, _archval.json, _train.json, _test.json
      images/archtrain/000000.png, images/archval/..., images/test/...

``digits_train`` is the union of archtrain and archval, for retraining; it has no files of its own.
"""

import json
import logging
import os
import shutil
import time
import uuid
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from .digits_render import PHOTOS, DigitScenes, Scene

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

MAKER = "crnas_d2 digits"
VERSION = 1  # raise it whenever a pixel or a number of the dataset changes
MARKER = "made_by.json"
STALE_AFTER = 3600  # seconds; a creation writes a file many times a second


def digits_root() -> str:
    """``$DETECTRON2_DATASETS/digits``, or a folder in the user's cache where that is not set."""
    datasets = os.environ.get("DETECTRON2_DATASETS")
    if datasets:
        return os.path.join(os.path.expanduser(datasets), "digits")
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(cache, "crnas_d2", "digits")


def make_digits(
    root: str | os.PathLike,
    *,
    images: dict[str, int] = IMAGES,
    size: int = 192,
    heights: tuple[int, int] = (12, 185),
) -> None:
    """Make the dataset in folder ``root``, unless it is there already with these settings.

    The folder appears under its name only when it is complete, so an interrupted creation is
    started again by the next call, and of two processes at once the slower one uses the other's
    result.  A folder that an older version or other settings made is replaced.

    Args:
        root: the dataset's folder.
        images: number of images per split; image k is the same whatever the number.
        size: side of the square images, in pixels.
        heights: smallest and largest height of a digit, in pixels.

    Raises:
        FileExistsError: ``root`` holds something that was not made here; it is left untouched.
    """
    if set(images) != set(PHOTOS) or min(images.values()) < 1:
        raise ValueError(f"images={images}: expected a positive number for each of {list(PHOTOS)}")
    # A link to a folder on another disk stays a link: its target is what gets made.
    root = Path(root).resolve()
    marker = {
        "maker": MAKER,
        "version": VERSION,
        "images": dict(images),
        "size": size,
        "heights": list(heights),
    }
    if _is_current(root, marker):
        return
    scenes = DigitScenes(size=size, heights=heights)

    root.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(root)
    building = _sibling(root)
    building.mkdir()
    try:
        # First the marker, so that what is left of a killed creation is known to be ours.
        _write_json(building / MARKER, marker)
        _write_dataset(building, scenes, images, shown_as=root)
        _move_into_place(building, root, marker)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _is_current(root: Path, marker: dict) -> bool:
    """Whether ``root`` is complete with these settings; an error if it is not ours to replace."""
    if not os.path.lexists(root):
        return False
    made_by = _read_marker(root)
    if made_by == marker:
        return True
    ours = {MARKER, "annotations", "images"} if made_by else set()
    found = [path.name for path in root.iterdir()] if root.is_dir() else [root.name]
    strangers = sorted(set(found) - ours)
    if strangers:
        raise FileExistsError(
            f"The digits dataset belongs in {root}, but crnas_d2 did not make what is there: "
            f"{', '.join(strangers[:5])}. Move it away, or set DETECTRON2_DATASETS to another "
            "folder."
        )
    return False


def _read_marker(folder: Path) -> dict | None:
    try:
        made_by = json.loads((folder / MARKER).read_text())
    except (OSError, ValueError):
        return None
    return made_by if isinstance(made_by, dict) and made_by.get("maker") == MAKER else None


def _sibling(root: Path) -> Path:
    """A new name beside ``root``, on the same file system, so that a rename can be atomic."""
    return root.with_name(f".{root.name}.making-{uuid.uuid4().hex}")


def _remove_abandoned(root: Path) -> None:
    """Delete what killed creations left beside ``root``."""
    for folder in root.parent.glob(f".{root.name}.making-*"):
        try:
            latest = max(path.stat().st_mtime for path in (folder, *folder.glob("*/*")))
        except OSError:  # its process has just moved or removed it
            continue
        if _read_marker(folder) is not None and time.time() - latest > STALE_AFTER:
            logger.info("Removing an unfinished digits dataset: %s", folder)
            shutil.rmtree(folder, ignore_errors=True)


def _move_into_place(building: Path, root: Path, marker: dict) -> None:
    """Rename ``building`` to ``root``, unless another process was faster."""
    if _is_current(root, marker):
        return
    outdated = _sibling(root)
    if _read_marker(root) is not None:
        os.replace(root, outdated)  # a folder cannot be renamed onto one that is not empty
    try:
        os.replace(building, root)
    except OSError:
        if not _is_current(root, marker):
            raise
    finally:
        shutil.rmtree(outdated, ignore_errors=True)


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
        _write_json(folder / "annotations" / f"{name}.json", content)


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


def _write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, separators=(",", ":")) + "\n")
