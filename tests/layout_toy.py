"""Folders as labelling tools write them, and what is read from them."""

import json
from pathlib import Path

import pytest
from PIL import Image

from crnas_d2.data.annotations.coco import check_structure
from crnas_d2.data.layouts import find_layout

SIZE = (80, 60)


def write(folder: Path, files: dict) -> Path:
    """Writes files by name: text, bytes, data for JSON; an image for a size or an orientation."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, int | tuple) or content is None:
            exif = Image.Exif()
            if isinstance(content, int):
                exif[0x0112] = content
            size = content if isinstance(content, tuple) else SIZE
            Image.new("RGB", size, (hash(name) % 256, 9, 9)).save(path, exif=exif)
        elif isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def read(path: Path, **settings):
    """The boxes of each image, ``(class, x, y, width, height)``, by part and name of the image."""
    parts = find_layout(path, **settings).read()
    return {name: boxes_of(part) for name, part in parts.items()}


def boxes_of(part):
    coco = json.loads(json.dumps(part.coco))
    if coco["annotations"]:
        check_structure(coco, "coco")
    names = {category["id"]: category["name"] for category in coco["categories"]}
    images = {image["id"]: image["file_name"] for image in coco["images"]}
    # assert part.findings.keys() <= KINDS.keys()
    found = {name: [] for name in images.values()}
    for annotation in coco["annotations"]:
        box = [round(value, 3) for value in annotation["bbox"]]
        found[images[annotation["image_id"]]].append((names[annotation["category_id"]], *box))
    return found


def counts(path: Path, **settings):
    """How many places of each kind of fault were found, in all parts."""
    found = {}
    for part in find_layout(path, **settings).read().values():
        for kind, places in part.findings.items():
            found[kind] = found.get(kind, 0) + len(places)
    return found


def refuses(path: Path, *words: str, **settings):
    with pytest.raises(ValueError) as raised:
        find_layout(path, **settings).read()
    message = " ".join(str(raised.value).split())
    assert [word for word in words if word not in message] == [], message
