"""What the reader of a layout collects: the images and objects of each part, and its findings."""

import itertools
import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from PIL import Image

from crnas_d2.common.digests import sha256
from crnas_d2.common.errors import invalid
from crnas_d2.common.formats import format_few
from crnas_d2.common.progress import progress_bar
from crnas_d2.data.annotations.coco import Record
from crnas_d2.data.annotations.part import Part
from crnas_d2.data.images.pixels import upright_size

from .folder import Folder, fold, part_of, stem_of

BACKGROUND = "images without labels, read as background"
NO_FILE = "images without an annotation file"
OTHER_IMAGE = "annotation files that name another image"
REPEATED_KEYS = "keys that occur twice in a JSON object"
ODD_IDS = "ids written as text or decimals"
BASE_NAMES = "file names found by their base name"
MISSING = "image files that are missing"
NOT_LISTED = "annotation files that no image set lists"
NOT_THERE = "parts that are named, but not there"
FROM_MASKS = "boxes read from masks"
ROTATED = "rotated boxes, read as upright ones"
POLYGONS = "polygons, read as masks and boxes"
JOINED = "shapes of one group, read as one object"
TURNED = "COCO boxes with a rotation"
ROUND = "ellipses and circles, read as boxes"
POINTS = "points and lines"

_MASKS = {"SegmentationClass", "SegmentationObject"}  # folders of VOC without photographs
_FEW = 5000  # files that are read without a progress bar
T = TypeVar("T")


class Collector:
    """Collects images and objects of the parts of a dataset, numbered from 1 in each part.

    Args:
        names: of the classes by id; without, all names that occur, sorted, with ids from 1.
    """

    def __init__(self, folder: Folder, names: Mapping[int, str] | None = None):
        self.folder = folder
        self.names = names
        self.problems: list[str] = []
        self._ids = {name: number for number, name in (names or {}).items()}
        self._images: dict[str, list[Record]] = defaultdict(list)
        self._annotations: dict[str, list[Record]] = defaultdict(list)
        self._findings: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        self._sources: dict[str, dict[str, None]] = defaultdict(dict)

    def note(self, part: str, kind: str, place: str) -> None:
        self._findings[part or "train"][kind].append(place)

    @contextmanager
    def problem_of(self, place: str) -> Iterator[None]:
        """Keep what is raised in the body about a file or record, to tell all of it in the end."""
        try:
            yield
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            text = str(error)
            if isinstance(error, KeyError):
                text = f"there is no {text}"
            elif not isinstance(error, ValueError):
                text = f"its structure is not what the tool writes ({text})"
            text = text.replace("could not convert string to float:", "expected a number, not")
            self.problems.append(f"{place}: {text}")

    def add_image(self, part: str, file: str, size: Any, *sources: str, **more: Any) -> Record:
        """Add an image.

        Args:
            file: relative to the folder, which names its part if the annotations do not.
            size: width and height in pixels, as far as they are known.
            sources: the files of its annotations.
        """
        part = part or part_of(os.path.dirname(file)) or "train"
        width, height = map(whole, size)
        images = self._images[part]
        image = {"id": len(images) + 1, "file_name": file, "width": width, "height": height}
        images.append(image | more)
        self._sources[part].update(dict.fromkeys(filter(None, sources)))
        return images[-1] | {"part": part}

    def find_image(self, part: str, name: str, bases: Sequence[str]) -> str:
        """Return the file that annotations name, or the name; note how it was found."""
        file, words = self.folder.find_image(name, bases)
        if words:
            self.note(part, BASE_NAMES if file else MISSING, words)
        return file or name

    def image_of(self, part: str, file: str, stated: str) -> str:
        """Return the image of an annotation file: that of its own name, else the one it states."""
        near, stem = os.path.dirname(file), stem_of(file)
        name = os.path.basename(stated.replace("\\", "/"))
        own = self._photographs(stem, near)
        named = own if stem_of(name) == stem else self._photographs(stem_of(name), near)
        named = [image for image in named if fold(os.path.basename(image)) == fold(name)]
        both = [image for image in own if image in named]
        if own and named and not both:
            self.note(part, OTHER_IMAGE, f"{file}: {own[0]}, it states {named[0]}")
        found = both or own or named
        if len({os.path.dirname(image) for image in found}) > 1:
            raise ValueError(f"its image may be {format_few(found)}")
        if not found:
            beside = near.replace("Annotations", "JPEGImages")
            return os.path.join(beside, name if stem_of(name) == stem else f"{stem}.jpg")
        if stem_of(found[0]) != stem and os.path.basename(found[0]) != name:
            self.note(part, BASE_NAMES, f"{file} = {found[0]}")
        return min(found)

    def _photographs(self, stem: str, near: str) -> list[str]:
        images = self.folder.with_stem(stem, near)
        return [image for image in images if not _MASKS & {*image.split("/")}]

    def add_object(self, image: Record, name: str | int, shape: Record, **more: Any) -> None:
        """Add an object.

        Args:
            name: of its class, or its id if the classes are given.
            shape: with its ``bbox``, see :mod:`.shapes`.
        """
        if self.names is None and not (isinstance(name, str) and name.strip()):
            raise invalid("the class of an object", name, "text")
        if self.names is not None and isinstance(name, str):
            if name not in self._ids:
                raise invalid("the class of an object", name, f"one of {list(self._ids)}")
            name = self._ids[name]
        annotations = self._annotations[image["part"]]
        annotation = {"id": len(annotations) + 1, "image_id": image["id"], "category_id": name}
        area = shape["bbox"][2] * shape["bbox"][3]
        annotations.append(annotation | {"area": area, "iscrowd": 0} | shape | more)

    def read_json(self, file: str, part: str) -> Any:
        """Return what a JSON file holds; note keys that occur twice."""
        content, repeated = self.folder.json(file, keep=False)
        for words in repeated:
            self.note(part, REPEATED_KEYS, f"{file}: {words}")
        return content

    def note_unused(self, labelled: Collection[str] = ()) -> None:
        """Note the images without annotations in the folders of those that have some.

        Args:
            labelled: stems of images that have annotations elsewhere.
        """
        used = {i["file_name"]: part for part, images in self._images.items() for i in images}
        for image, part in unused(self.folder, used):
            if stem_of(image) not in labelled:
                self.note(part, NO_FILE, image)

    def parts(self) -> dict[str, Part]:
        """Return all parts; they have the same categories.

        Raises:
            ValueError: the problems that were kept, or no image.
        """
        if self.problems:
            few = format_few([problem.removesuffix(".") for problem in self.problems])
            count = f" ({len(self.problems)} such places)" if len(self.problems) > 1 else ""
            raise ValueError(f"{few}{count}.")
        if not any(self._images.values()):
            raise ValueError(f"{self.folder.root}: no images are annotated.")
        names = self.names
        if names is None:
            found = {a["category_id"] for some in self._annotations.values() for a in some}
            names = dict(enumerate(sorted(found), start=1))
            ids = {name: number for number, name in names.items()}
            for annotation in itertools.chain(*self._annotations.values()):
                annotation["category_id"] = ids[annotation["category_id"]]
        categories = [{"id": number, "name": name} for number, name in names.items()]
        for part in self._findings.keys() - self._images.keys():  # e.g. of a part that is not there
            for kind, places in self._findings[part].items():
                self._findings[next(iter(self._images))][kind] += places
        parts = {}
        for part, images in self._images.items():
            annotations = self._annotations[part]
            coco = {"info": {}, "images": images, "annotations": annotations}
            sources = digests(self.folder, list(self._sources[part]))
            findings = {kind: list(places) for kind, places in self._findings[part].items()}
            parts[part] = Part(
                {**coco, "categories": categories}, self.folder.root, sources, findings
            )
        return in_order(parts)


def in_order(parts: dict[str, Part]) -> dict[str, Part]:
    """Return train, val and test in this order; one part alone is ``train``.

    Raises:
        ValueError: several parts, and none to train on.
    """
    if len(parts) == 1:
        return {"train": next(iter(parts.values()))}
    if "train" not in parts:
        raise ValueError(f"The parts are {', '.join(parts)}; expected one named train.")
    return {part: parts[part] for part in ("train", "val", "test") if part in parts}


def unused(folder: Folder, used: Mapping[str, T]) -> Iterator[tuple[str, T]]:
    """Yield the other images beside those that are used, each with the part there.

    They are in the same folders, below them, or in folders beside them (but for the outermost
    ones) that name no other part and hold no other picture, e.g. a mask, of an image that is used.
    """
    parts = {os.path.dirname(image): part for image, part in used.items()}
    beside = {up: part for where, part in parts.items() if (up := os.path.dirname(where))}
    stems, words = {stem_of(image) for image in used}, {"", *map(part_of, parts)}
    for image in folder.images:
        where = os.path.dirname(image)
        if where in parts:
            if image not in used:
                yield image, parts[where]
        elif part_of(where) in words and stem_of(image) not in stems:
            above = [where, *map(str, PurePosixPath(where).parents[:-1]), ""]
            near = next((up for up in above if up in parts or up in beside), None)
            if near is not None:
                yield image, parts.get(near) or beside[near]


def digests(folder: Folder, files: Sequence[str]) -> dict[str, str]:
    """Return the sha256 of each source file; that of many is one."""
    paths = [folder.root / file for file in files]
    if len(files) <= 3:
        return {file: sha256(path) for file, path in zip(files, paths, strict=True)}
    where = os.path.commonpath([os.path.dirname(file) or "." for file in files])
    return {f"{len(files)} files *{paths[0].suffix} of {where or '.'}/": sha256(*paths)}


def progress(items: Sequence[Any]) -> Iterable[Any]:
    """Return the items, with a progress bar if they are many."""
    return progress_bar(items, desc="Reading annotations", unit="file", disable=len(items) < _FEW)


def read_sizes(root: Path, files: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Return width and height of images, upright by their EXIF orientation; (0, 0) if unreadable.

    Only heads of files are read: 100,000 take about 10 s.
    """

    def read(file: str) -> tuple[int, int]:
        try:
            with Image.open(os.path.join(root, file)) as image:
                return upright_size(image)
        except Exception:  # decoders raise many types; prepare names them when it decodes all
            return 0, 0

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        bar = progress_bar(
            pool.map(read, files, chunksize=64),
            total=len(files),
            desc="Sizes of images",
            unit="img",
            disable=len(files) < _FEW,
        )
        return dict(zip(files, bar, strict=True))


def whole(value: Any) -> Any:
    """Return a number that is written as text or as a decimal as a whole one, if it is one."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return value
    if isinstance(value, bool | int) or not number.is_integer():
        return value
    return int(value) if isinstance(value, str) and value.strip().isdecimal() else int(number)
