"""Convert PASCAL VOC annotations to COCO JSON, with the boxes of Detectron2's VOC loader."""

import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from crnas_d2.common.errors import invalid
from crnas_d2.common.files import AnyPath

from .coco import Record

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def voc_files(folder: AnyPath, image_set: str | None = None) -> list[Path]:
    """List the annotation files of an image set, or all files if it is ``None``.

    Raises:
        ValueError: no VOC folder, no such image set, or missing annotations.
    """
    annotations = Path(folder) / "Annotations"
    if not annotations.is_dir() or not (Path(folder) / "JPEGImages").is_dir():
        raise ValueError(f"{folder} is not a VOC folder: Annotations/ or JPEGImages/ is missing.")
    if image_set is None:
        return sorted(annotations.glob("*.xml"))
    list_file = Path(folder) / "ImageSets" / "Main" / f"{image_set}.txt"
    if not list_file.is_file():
        sets = sorted(path.stem for path in list_file.parent.glob("*.txt"))
        raise ValueError(f"{list_file} does not exist; the folder has the image sets {sets}.")
    lines = [line.split() for line in list_file.read_text().splitlines() if line.strip()]
    files = [annotations / f"{words[0]}.xml" for words in lines]
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise ValueError(
            f"{list_file} names {len(missing)} images without annotations; the first missing file "
            f"is {missing[0]}."
        )
    return files


def voc_to_coco(
    files: Sequence[AnyPath],
    image_root: AnyPath,
    class_names: Sequence[str] | None = None,
) -> Record:
    """Convert annotation files ``<folder>/Annotations/<id>.xml``.

    A box runs from ``(xmin - 1, ymin - 1)`` to ``(xmax, ymax)``, as in
    ``detectron2/data/datasets/pascal_voc.py``. Objects marked *difficult* are ordinary objects, as
    there, with the flag in the key ``difficult``. ``voc_box`` keeps the corners of the file. An
    image is the file in ``JPEGImages`` with the annotation's ``filename``, or else the image file
    with the annotation's stem. Image names are relative to ``image_root``.

    Args:
        files: from :func:`voc_files`, of one or more folders.
        class_names: in the order of the category ids, which start at 1; ``None`` for all names
            that occur, sorted.

    Raises:
        ValueError: a file that is not a VOC annotation, or an object of an unknown class.
    """
    trees: list[tuple[Path, ElementTree.Element]] = []
    for file in map(Path, files):
        try:
            trees.append((file, ElementTree.parse(file).getroot()))
        except (OSError, ElementTree.ParseError) as error:
            raise ValueError(f"{file} is not a VOC annotation: {error}.") from error
    if class_names is None:
        found = (element for _, tree in trees for element in tree.findall("object/name"))
        class_names = sorted({(element.text or "").strip() for element in found})
    category_ids = {name: number for number, name in enumerate(class_names, start=1)}
    in_folder: dict[Path, tuple[set[str], dict[str, str]]] = {}
    images: list[Record] = []
    annotations: list[Record] = []
    for image_id, (file, tree) in enumerate(trees, start=1):
        folder = file.parent.parent / "JPEGImages"
        if folder not in in_folder:
            in_folder[folder] = _list_images(folder)
        names, by_stem = in_folder[folder]
        name = (tree.findtext("filename") or "").strip()
        if name not in names:
            name = by_stem.get(file.stem, f"{file.stem}.jpg")  # which may be missing
        images.append(
            {
                "id": image_id,
                "file_name": Path(os.path.relpath(folder / name, image_root)).as_posix(),
                # 0 if the file has no size; prepare reads it from the image.
                "width": int(float(tree.findtext("size/width") or 0)),
                "height": int(float(tree.findtext("size/height") or 0)),
            }
        )
        for element in tree.findall("object"):
            ids = {"id": len(annotations) + 1, "image_id": image_id}
            annotations.append(ids | _annotation(element, file, category_ids))
    categories = [{"id": number, "name": name} for name, number in category_ids.items()]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


def _annotation(element: ElementTree.Element, file: Path, category_ids: dict[str, int]) -> Record:
    name = (element.findtext("name") or "").strip()
    if name not in category_ids:
        raise ValueError(f"{file} has an object '{name}'; expected one of {list(category_ids)}.")
    try:
        corners = [float(element.findtext(f"bndbox/{key}") or "") for key in _CORNERS]
    except ValueError as error:
        raise ValueError(
            f"{file}: an object '{name}' has no bndbox of numbers {', '.join(_CORNERS)}."
        ) from error
    difficult = element.findtext("difficult") or "0"
    try:
        flag = int(difficult)
    except ValueError as error:
        raise invalid(f"{file}: difficult of an object '{name}'", difficult, "0 or 1") from error
    xmin, ymin, xmax, ymax = corners
    width, height = xmax - (xmin - 1), ymax - (ymin - 1)
    return {
        "category_id": category_ids[name],
        "bbox": [xmin - 1, ymin - 1, width, height],
        "area": width * height,
        "iscrowd": 0,
        "difficult": flag,
        "voc_box": corners,
    }


def _list_images(folder: Path) -> tuple[set[str], dict[str, str]]:
    """Return the names of all files in a folder, and those of its images by stem."""
    names = {path.name for path in folder.iterdir()}
    suffixes = Image.registered_extensions()
    # Reverse order, so that a.jpg overrides a.png, which may be its mask.
    images = (Path(name) for name in sorted(names, reverse=True))
    return names, {path.stem: path.name for path in images if path.suffix.lower() in suffixes}
