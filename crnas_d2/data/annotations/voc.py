"""Convert PASCAL VOC annotations to COCO JSON, with the boxes of Detectron2's VOC loader."""

import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

from PIL import Image


def is_image_set(folder: str | os.PathLike, name: str) -> bool:
    """Whether a VOC folder has the image set ``ImageSets/Main/<name>.txt``."""
    return _image_set_file(folder, name).is_file()


def voc_files(folder: str | os.PathLike, image_set: str | None = None) -> list[Path]:
    """List the annotation files of an image set, or all files if it is ``None``.

    Raises:
        ValueError: no VOC folder, no such image set, or missing annotations.
    """
    annotations = Path(folder) / "Annotations"
    if not annotations.is_dir() or not (Path(folder) / "JPEGImages").is_dir():
        raise ValueError(f"{folder} is not a VOC folder: Annotations/ or JPEGImages/ is missing.")
    if image_set is None:
        return sorted(annotations.glob("*.xml"))
    list_file = _image_set_file(folder, image_set)
    if not list_file.is_file():
        sets = sorted(path.stem for path in list_file.parent.glob("*.txt"))
        raise ValueError(f"{list_file} does not exist; the folder has the image sets {sets}.")
    files = [
        annotations / f"{line.split()[0]}.xml"
        for line in list_file.read_text().splitlines()
        if line.strip()
    ]
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise ValueError(
            f"{list_file} names {len(missing)} images without annotations; the first missing file "
            f"is {missing[0]}."
        )
    return files


def voc_to_coco(
    files: Sequence[str | os.PathLike],
    image_root: str | os.PathLike,
    class_names: Sequence[str] | None = None,
) -> dict:
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
    trees = [(Path(file), _parse(Path(file))) for file in files]
    if class_names is None:
        found = {name for _, tree in trees for name in _texts(tree, "object/name")}
        class_names = sorted(found)
    category_ids = {name: number for number, name in enumerate(class_names, start=1)}
    images_in: dict[Path, _ImageFolder] = {}
    images, annotations = [], []
    for image_id, (file, tree) in enumerate(trees, start=1):
        folder = file.parent.parent / "JPEGImages"
        if folder not in images_in:
            images_in[folder] = _ImageFolder(folder)
        name = images_in[folder].name(file, tree)
        images.append(
            {
                "id": image_id,
                "file_name": Path(os.path.relpath(folder / name, image_root)).as_posix(),
                # 0 if the file has no size; check_annotations() fills it in.
                "width": int(float(tree.findtext("size/width") or 0)),
                "height": int(float(tree.findtext("size/height") or 0)),
            }
        )
        for element in tree.findall("object"):
            record = _annotation(element, file, category_ids)
            annotations.append({"id": len(annotations) + 1, "image_id": image_id, **record})
    categories = [{"id": number, "name": name} for name, number in category_ids.items()]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


def _annotation(element: ElementTree.Element, file: Path, category_ids: dict[str, int]) -> dict:
    name = (element.findtext("name") or "").strip()
    if name not in category_ids:
        raise ValueError(f"{file} has an object '{name}'; expected one of {list(category_ids)}.")
    try:
        corners = [float(element.findtext(f"bndbox/{key}")) for key in _CORNERS]
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{file}: an object '{name}' has no bndbox of numbers {', '.join(_CORNERS)}."
        ) from error
    difficult = element.findtext("difficult") or "0"
    try:
        flag = int(difficult)
    except ValueError as error:
        raise ValueError(
            f"{file}: an object '{name}' has difficult '{difficult}'; expected 0 or 1."
        ) from error
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


class _ImageFolder:
    """The names of the files in a folder of images, listed once."""

    def __init__(self, folder: Path) -> None:
        self._names = {path.name for path in folder.iterdir()}
        suffixes = Image.registered_extensions()
        # Reverse order, so that a.jpg overrides a.png, which may be its mask.
        images = (Path(name) for name in sorted(self._names, reverse=True))
        self._by_stem = {path.stem: path.name for path in images if path.suffix.lower() in suffixes}

    def name(self, file: Path, tree: ElementTree.Element) -> str:
        """Return the name of the image that an annotation file describes, even if it is missing."""
        named = (tree.findtext("filename") or "").strip()
        return named if named in self._names else self._by_stem.get(file.stem, f"{file.stem}.jpg")


_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def _image_set_file(folder: str | os.PathLike, name: str) -> Path:
    return Path(folder) / "ImageSets" / "Main" / f"{name}.txt"


def _parse(file: Path) -> ElementTree.Element:
    try:
        return ElementTree.parse(file).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise ValueError(f"{file} is not a VOC annotation: {error}.") from error


def _texts(tree: ElementTree.Element, path: str) -> list[str]:
    return [(element.text or "").strip() for element in tree.findall(path)]
