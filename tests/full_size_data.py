"""COCO, VOC and ImageNet in small: their folders, classes and image sizes, with noise as images."""

import json
from pathlib import Path

import numpy as np
from detectron2.data.datasets.builtin_meta import _get_builtin_metadata
from detectron2.data.datasets.pascal_voc import CLASS_NAMES
from PIL import Image

__all__ = ["make_datasets"]

WIDTH, HEIGHT = 640, 480  # most images of COCO
IMAGES = {"archtrain": 2, "archval": 2}
# Each JSON file of COCO: the folder of its images, and how many it has.
COCO = {
    "archtrain2017": ("train2017", 2),
    "archval2017": ("train2017", 2),
    "train2014": ("train2014", 2),
    "valminusminival2014": ("val2014", 2),
}


def make_datasets(root: Path) -> None:
    """Make what the supernets and searches of ``projects`` read, below ``DETECTRON2_DATASETS``."""
    random = np.random.default_rng(0)
    ids = _get_builtin_metadata("coco")["thing_dataset_id_to_contiguous_id"]
    names = _get_builtin_metadata("coco")["thing_classes"]
    categories = [{"id": i, "name": names[index]} for i, index in ids.items()]
    for number, (name, (folder, images)) in enumerate(COCO.items()):
        file = root / "coco" / "annotations" / f"instances_{name}.json"
        content = _annotations(images, categories, 100 * number, "{:012}.jpg")
        _write(file, content, root / "coco" / folder, random)
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(CLASS_NAMES)]
    for number, part in enumerate(IMAGES):
        names = "VOC2007/JPEGImages/{:06}.jpg"
        content = _annotations(IMAGES[part], categories, 100 * number, names)
        _write(root / "voc_0712" / f"instances_{part}.json", content, root, random)
    for part in ("train", "val"):
        for label in range(1000):
            file = root / "imagenet" / part / f"n{label:08}" / f"{part}_{label}.jpg"
            file.parent.mkdir(parents=True)
            _save_noise(file, (256, 256), random)


def _annotations(images: int, categories: list[dict], first: int, names: str) -> dict:
    """Return COCO's JSON with one object of each of the first categories in each image."""
    content = {"info": {}, "licenses": [], "categories": categories, "images": []}
    content["annotations"] = []
    for image_id in range(first, first + images):
        entry = {"id": image_id, "file_name": names.format(image_id)}
        content["images"].append({**entry, "width": WIDTH, "height": HEIGHT})
        for place, category in enumerate(categories[:6]):
            x, y, width, height = 20 + 90 * place, 30 + 60 * place, 80 + 10 * place, 90
            right, low = x + width, y + height
            content["annotations"].append(
                {
                    "id": 10 * image_id + place + 1,
                    "image_id": image_id,
                    "category_id": category["id"],
                    "bbox": [x, y, width, height],
                    "area": width * height,
                    "iscrowd": 0,
                    "segmentation": [[x, y, right, y, right, low, x, low]],
                }
            )
    return content


def _write(file: Path, content: dict, images: Path, random: np.random.Generator) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))
    for image in content["images"]:
        _save_noise(images / image["file_name"], (HEIGHT, WIDTH), random)


def _save_noise(file: Path, size: tuple[int, int], random: np.random.Generator) -> None:
    """Save large squares of random colours, of which no two images have the same."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = random.integers(0, 256, (size[0] // 16, size[1] // 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize(size[::-1], Image.NEAREST).save(file)
