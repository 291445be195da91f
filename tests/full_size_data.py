"""COCO, VOC and ImageNet in small: their folders, classes and image sizes, with random images."""

from pathlib import Path

import numpy as np
import toy
from detectron2.data.datasets.builtin_meta import _get_builtin_metadata
from detectron2.data.datasets.pascal_voc import CLASS_NAMES
from PIL import Image

WIDTH, HEIGHT = 640, 480  # most images of COCO
# Each JSON file, the folder of its images, and their names.
FILES = {
    "coco/annotations/instances_archtrain2017.json": ("coco/train2017", "{:012}.jpg"),
    "coco/annotations/instances_archval2017.json": ("coco/train2017", "{:012}.jpg"),
    "coco/annotations/instances_train2014.json": ("coco/train2014", "{:012}.jpg"),
    "coco/annotations/instances_valminusminival2014.json": ("coco/val2014", "{:012}.jpg"),
    "voc_0712/instances_archtrain.json": ("", "VOC2007/JPEGImages/{:06}.jpg"),
    "voc_0712/instances_archval.json": ("", "VOC2007/JPEGImages/{:06}.jpg"),
}


def make_datasets(root: Path) -> None:
    """Make what the supernets and searches of ``projects`` read, below ``DETECTRON2_DATASETS``."""
    random = np.random.default_rng(0)
    coco = _get_builtin_metadata("coco")
    ids = coco["thing_dataset_id_to_contiguous_id"].items()
    classes = {
        "coco": [{"id": i, "name": coco["thing_classes"][index]} for i, index in ids],
        "voc_0712": [{"id": i, "name": name} for i, name in enumerate(CLASS_NAMES, start=1)],
    }
    for number, (name, (folder, pattern)) in enumerate(FILES.items()):
        categories = classes[name.split("/")[0]]
        images, annotations = [], []
        for image_id in (100 * number, 100 * number + 1):
            file_name = pattern.format(image_id)
            size = {"width": WIDTH, "height": HEIGHT}
            images.append({"id": image_id, "file_name": file_name, **size})
            annotations += _objects(image_id, categories[:6])
            _save_random(root / folder / file_name, (HEIGHT, WIDTH), random)
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        toy.write_json(root / name, images, annotations, categories)
    for part in ("train", "val"):
        for label in range(1000):
            file = root / "imagenet" / part / f"n{label:08}" / f"{part}_{label}.jpg"
            _save_random(file, (256, 256), random)


def _objects(image_id: int, categories: list[dict]) -> list[dict]:
    """Return one object of each category, with its polygon."""
    found = []
    for place, category in enumerate(categories):
        x, y, width, height = 20 + 90 * place, 30 + 60 * place, 80 + 10 * place, 90
        box = toy.annotation(
            10 * image_id + place + 1, image_id, category["id"], x, y, width, height
        )
        found.append({**box, "segmentation": [toy.polygon(box["bbox"])]})
    return found


def _save_random(file: Path, size: tuple[int, int], random: np.random.Generator) -> None:
    """Save large squares of random colours, of which no two images have the same."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = random.integers(0, 256, (size[0] // 16, size[1] // 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize(size[::-1], Image.NEAREST).save(file)
