"""YOLO: a text file per image, with a class number and coordinates from 0 to 1 per line."""

import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from crnas_d2.common.errors import invalid
from crnas_d2.common.files import read_text
from crnas_d2.data.annotations.coco import Record
from crnas_d2.data.annotations.part import Part

from .collector import (
    BACKGROUND,
    BASE_NAMES,
    MISSING,
    NOT_LISTED,
    NOT_THERE,
    ODD_IDS,
    POINTS,
    POLYGONS,
    ROTATED,
    Collector,
    progress,
    read_sizes,
)
from .folder import Folder, part_of
from .layout import LAYOUT_REGISTRY, Layout
from .shapes import box_of, polygon
from .yolo_files import Description, describe, descriptions, label_files, place

# By so much a coordinate may leave the image, as in Ultralytics; corners of turned boxes do.
_TOLERANCE, _OF_TURNED = 0.01, 0.5
_NUMBER = re.compile(r"-?\d*\.?\d+(?:e[+-]?\d+)?", re.IGNORECASE)
_Rows = dict[str, list[tuple[int, list[str]]]]  # by image: number and words of each line


@LAYOUT_REGISTRY.register("YOLO")
class YOLO(Layout):
    looked_for = "data.yaml, obj.data, or .txt files with numbers beside images or in labels/"

    @classmethod
    def find(cls, folder: Folder) -> str:
        if files := descriptions(folder):
            return " and ".join(files)
        for image in folder.images if not folder.chosen else ():
            file = _labels_of(image, folder)
            if file and _is_labels(folder.root / file):
                return f"{os.path.dirname(file) or '.'}/*.txt"
        return ""

    def read(self) -> dict[str, Part]:
        root, description = self.folder.root, describe(self.folder)
        collector = Collector(self.folder, description.names)
        images = dict(self._images(description, collector))
        files = {image: _labels_of(image, self.folder) for image in images}
        if not any(files.values()):
            first = next(iter(images), "")
            raise ValueError(
                f"{root / description.source}: none of the {len(images):,} images has labels; "
                f"looked for {' and '.join(label_files(first))}."
            )
        images_of: dict[str, str] = {}
        for image, file in files.items():
            if file and images_of.setdefault(file, image) != image:
                collector.problems.append(f"{file} is of {images_of[file]} and of {image}")
        rows: _Rows = {}
        for image, file in progress(list(files.items())):
            with collector.problem_of(file):
                lines = enumerate(
                    read_text(os.path.join(root, file)).splitlines() if file else (), start=1
                )
                rows[image] = [(number, words) for number, line in lines if (words := line.split())]
        lengths = {len(words) for some in rows.values() for _, words in some}
        if not description.points and _are_poses(rows, lengths):
            raise ValueError(
                f"{root / description.source}: the labels look like boxes with key points; add "
                "kpt_shape: [NUMBER, 2 or 3] to data.yaml, and the boxes are read."
            )
        sizes = read_sizes(root, list(images))
        for file, part in images.items():
            record = collector.add_image(part, file, sizes[file], description.source, files[file])
            if files[file] and files[file] not in label_files(file):
                collector.note(part, BASE_NAMES, f"{files[file]} of {file}")
            if not rows.get(file):
                collector.note(part, BACKGROUND, file)
            for number, words in rows.get(file, ()):
                with collector.problem_of(f"{files[file]}, line {number}"):
                    self._add_object(collector, record, words, description, lengths)
        for image in self.folder.images if description.splits else ():
            if image not in images and (file := _labels_of(image, self.folder)):
                collector.note("", NOT_LISTED, file)
        self._note_strays(collector, images, set(files.values()))
        return collector.parts()

    def _images(self, description: Description, collector: Collector) -> Iterator[tuple[str, str]]:
        """Yield each image and its part."""
        root = self.folder.root
        if not description.splits:
            yield from ((image, part_of(os.path.dirname(image))) for image in self.folder.images)
            return
        above = root / os.path.dirname(description.source)
        bases = [above / description.path, above, root]
        taken: dict[str, str] = {}
        for part, entries in description.splits.items():
            if part != "train" and entries == description.splits.get("train"):
                collector.note("train", NOT_THERE, f"{part}, which is the same as train")
                continue
            for entry in entries:
                found = place(entry, bases)
                if found is None and part == "train":
                    expected = "a folder, or a list of files"
                    raise invalid(f"{root / description.source}: train", entry, expected)
                if found is None:
                    collector.note("train", NOT_THERE, f"{part}: {entry}")
                    continue
                for image in self._listed(found, bases, collector, part):
                    if taken.setdefault(image, part) != part:
                        collector.problems.append(f"{image} is in {taken[image]} and in {part}")
                    yield image, part

    def _listed(
        self, found: Path, bases: list[Path], collector: Collector, part: str
    ) -> Iterator[str]:
        """Yield the images in a folder, or those that a list names."""
        if found.is_dir():
            base = os.path.relpath(found, self.folder.root)
            yield from (os.path.normpath(os.path.join(base, f)) for f in Folder(found).images)
            return
        for name in filter(None, map(str.strip, read_text(found).splitlines())):
            if path := place(name, [found.parent, *bases]):
                yield os.path.normpath(os.path.relpath(path, self.folder.root))
            else:
                collector.note(part, MISSING, f"{name} of {found.name}")

    def _add_object(
        self,
        collector: Collector,
        image: Record,
        words: list[str],
        description: Description,
        lengths: Collection[int],
    ) -> None:
        line = " ".join(words)
        try:
            number, *values = map(float, words)
        except ValueError as error:
            raise invalid("the line", line, "numbers") from error
        if number not in description.names:
            raise invalid("the class", words[0], f"one of {sorted(description.names)}")
        if not words[0].isdecimal():
            collector.note(image["part"], ODD_IDS, f"{image['file_name']}: {line}")
        if description.points and len(values) != 4 + description.points:
            raise invalid("the line", line, f"{5 + description.points} numbers (kpt_shape)")
        coordinates = values[:4] if description.points else values
        reach = _OF_TURNED if lengths == {9} else _TOLERANCE
        if not all(-reach <= value <= 1 + reach for value in coordinates):
            raise invalid("the line", line, "coordinates from 0 to 1, relative to the image")
        pairs = zip(coordinates[::2], coordinates[1::2], strict=False)
        points = [(x * image["width"], y * image["height"]) for x, y in pairs]
        if len(coordinates) == 4:
            (x, y), (width, height) = points
            shape: Record = {"bbox": [x - width / 2, y - height / 2, width, height]}
            kind = POINTS if description.points else ""
        elif lengths == {9}:
            shape, kind = box_of(points), ROTATED
        elif len(values) >= 6 and len(values) % 2 == 0:
            shape, kind = polygon(points), POLYGONS
        else:
            raise invalid("the line", line, "5 numbers, or a class and 3 or more points")
        if kind:
            collector.note(image["part"], kind, f"{image['file_name']}: {line}")
        collector.add_object(image, int(number), shape)

    def _note_strays(
        self, collector: Collector, images: Mapping[str, str], files: Collection[str]
    ) -> None:
        """Note labels in the folders of labels whose image does not exist."""
        folders = {os.path.dirname(file) for file in files if file}
        known = {file for image in self.folder.images for file in label_files(image)} | {*files}
        for file in self.folder.files:
            is_beside = file.lower().endswith(".txt") and os.path.dirname(file) in folders
            if is_beside and file not in known and _is_labels(self.folder.root / file):
                collector.note(next(iter(images.values())), MISSING, f"the image of {file}")


def _labels_of(image: str, folder: Folder) -> str:
    """Return the labels of an image, or nothing; names may differ in case."""
    files = list(label_files(image))
    exact = (file for file in files if os.path.isfile(os.path.join(folder.root, file)))
    return next(exact, "") or next(filter(None, map(folder.find, files)), "")


def _is_labels(file: Path) -> bool:
    """Whether a file begins with a line of five numbers or more."""
    with open(file, encoding="utf-8", errors="replace") as stream:
        words = stream.readline().removeprefix("\ufeff").split()
    return len(words) >= 5 and all(map(_NUMBER.fullmatch, words[:5]))


def _are_poses(rows: _Rows, lengths: Collection[int]) -> bool:
    """Whether all lines are as long, and what follows four numbers are points in that box."""
    if len(lengths) != 1 or min(lengths) < 11:
        return False
    for words in (words for some in rows.values() for _, words in some):
        try:
            x, y, width, height, *rest = map(float, words[1:])
        except ValueError:
            return False
        per_point = 3 if len(rest) % 3 == 0 and set(rest[2::3]) <= {0, 1, 2} else 2
        points = zip(rest[::per_point], rest[1::per_point], strict=False)
        reach_x, reach_y = width / 2 + _TOLERANCE, height / 2 + _TOLERANCE
        if not all(
            (px, py) == (0, 0) or (abs(px - x) <= reach_x and abs(py - y) <= reach_y)
            for px, py in points
        ):
            return False
    return True
