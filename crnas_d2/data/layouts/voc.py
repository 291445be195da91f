"""PASCAL VOC: an xml file per image, with the boxes of Detectron2's VOC loader."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

from crnas_d2.common.errors import invalid
from crnas_d2.common.files import AnyPath, read_text
from crnas_d2.data.annotations.coco import Record
from crnas_d2.data.annotations.part import Part

from .collector import NOT_LISTED, ROTATED, Collector, progress
from .folder import PARTS, Folder, part_of, stem_of
from .layout import LAYOUT_REGISTRY, Layout
from .shapes import rotated
from .xml_files import parse_xml, xml_files

_FIRST = ("test", "val", "train")  # of the parts that list an image
_OTHER_SETS = {"Action", "Layout", "Segmentation"}  # image sets of VOC's other tasks
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


@LAYOUT_REGISTRY.register("VOC")
class VOC(Layout):
    looked_for = ".xml files with <annotation>, in Annotations/ or beside images"

    @classmethod
    def find(cls, folder: Folder) -> str:
        files = xml_files(folder, "annotation")
        return f"{os.path.dirname(files[0]) or '.'}/*.xml" if files else ""

    def read(self) -> dict[str, Part]:
        collector = Collector(self.folder)
        files = xml_files(self.folder, "annotation")
        parts = {file: part_of(os.path.dirname(file)) for file in files}
        parts = self._listed(files, collector) or parts
        for file, part in progress(list(parts.items())):
            with collector.problem_of(file):
                _read(file, part, collector)
        for file in files:
            if file not in parts:
                collector.note("train", NOT_LISTED, file)
        collector.note_unused({stem_of(file) for file in files if file not in parts})
        return collector.parts()

    def _listed(self, files: Sequence[str], collector: Collector) -> dict[str, str]:
        """Return the parts by image set; an image of several is in test, else val, else train.

        Image sets are in ``ImageSets/Main/``, else in any list of the name of a part.
        """
        lists = [f for f in self.folder.files if f.endswith(".txt") and stem_of(f) in PARTS]
        lists = [f for f in lists if not _OTHER_SETS & {*f.split("/")}]
        lists = [f for f in lists if "ImageSets/Main/" in f] or lists
        parts: dict[str, str] = {}
        for listed in sorted(lists, key=lambda f: _FIRST.index(PARTS[stem_of(f)])):
            root = listed.partition("ImageSets/")[0]
            root = root if root != listed else listed.removesuffix(os.path.basename(listed))
            by_id = {stem_of(f): f for f in files if f.startswith(root)}
            missing = []
            for line in filter(str.strip, read_text(self.folder.root / listed).split("\n")):
                names = line.strip(), line.split()[0], stem_of(line.split()[0].replace("\\", "/"))
                if name := next((name for name in names if name in by_id), ""):
                    parts.setdefault(by_id[name], PARTS[stem_of(listed)])
                elif not any(self.folder.with_stem(name, root) for name in names):
                    words = "there is neither an annotation file nor an image"
                    missing.append(f"{listed}: of {line.strip()} {words}")
            if "ImageSets/" in listed or by_id.keys() & {*map(stem_of, parts)}:
                collector.problems += missing
        return parts


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
    lines = [line.split() for line in read_text(list_file).splitlines() if line.strip()]
    files = [annotations / f"{words[0]}.xml" for words in lines]
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise ValueError(
            f"{list_file} names {len(missing)} images without annotations; the first missing file "
            f"is {missing[0]}."
        )
    return files


def voc_part(
    files: Sequence[AnyPath], image_root: AnyPath, class_names: Sequence[str] | None = None
) -> Part:
    """Read annotation files ``<folder>/Annotations/<id>.xml`` as one part.

    A box runs from ``(xmin - 1, ymin - 1)`` to ``(xmax, ymax)``, as in
    ``detectron2/data/datasets/pascal_voc.py``. Objects marked *difficult* are ordinary objects, as
    there, with the flag in the key ``difficult``. ``voc_box`` keeps the corners of the file. As
    there, the image is that of the file's own name; only without it, that of its ``filename``.
    Image names are relative to ``image_root``.

    Args:
        files: from :func:`voc_files`, of one or more folders.
        class_names: in the order of the category ids, which start at 1; ``None`` for all names
            that occur, sorted.

    Raises:
        ValueError: a file that is not a VOC annotation, or an object of an unknown class.
    """
    names = [Path(os.path.relpath(file, image_root)).as_posix() for file in files]
    folder = Folder(image_root, sorted({os.path.dirname(os.path.dirname(name)) for name in names}))
    classes = None if class_names is None else dict(enumerate(class_names, start=1))
    collector = Collector(folder, classes)
    for name in names:
        with collector.problem_of(name):
            _read(name, "train", collector)
    return collector.parts()["train"]


def _read(file: str, part: str, collector: Collector) -> None:
    tree = parse_xml(collector.folder.root / file)
    if tree.tag != "annotation":
        raise invalid("the root element", tree.tag, "annotation, as in the other files")
    size = [tree.findtext(f"size/{side}") or 0 for side in ("width", "height")]
    name = collector.image_of(part, file, (tree.findtext("filename") or "").strip())
    image = collector.add_image(part, name, size, file)
    for element in tree.findall("object"):
        name = (element.findtext("name") or "").strip()
        shape, is_rotated = _shape(element, name)
        if is_rotated:
            collector.note(part, ROTATED, f"{name} in {file}")
        difficult = element.findtext("difficult") or "0"
        if difficult.strip() not in ("0", "1"):
            raise invalid(f"difficult of an object '{name}'", difficult, "0 or 1")
        collector.add_object(image, name, shape, difficult=int(difficult))


def _shape(element: Element, name: str) -> tuple[Record, bool]:
    """Return box and corners of an object, and whether it is rotated (by radians)."""
    if len(element.findall("bndbox")) > 1:
        raise ValueError(f"an object '{name}' has more than one bndbox")
    try:
        bndbox = element.find("bndbox")
        texts = [None if bndbox is None else bndbox.findtext(key) for key in _CORNERS]
        corners = [float(text or "") for text in texts]
    except ValueError as error:
        keys = ("cx", "cy", "w", "h", "angle")  # of roLabelImg
        texts = [element.findtext(f"robndbox/{key}") for key in keys]
        if None in texts:
            words = ", ".join(_CORNERS)
            fix = " LabelMe's old xml is not read." if element.find("polygon") is not None else ""
            raise ValueError(
                f"an object '{name}' has no bndbox of numbers {words}.{fix}"
            ) from error
        x, y, width, height, angle = (float(text or "") for text in texts)
        box = [x - width / 2, y - height / 2, width, height]
        return rotated(box, math.degrees(angle), (x, y)), True
    xmin, ymin, xmax, ymax = corners
    box = [xmin - 1, ymin - 1, xmax - (xmin - 1), ymax - (ymin - 1)]
    return {"bbox": box, "voc_box": corners}, False
