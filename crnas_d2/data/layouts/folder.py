"""A folder of a dataset: its files, and its images by the names that annotations give them."""

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn
from urllib.parse import unquote, urlsplit

from crnas_d2.common.files import AnyPath, read_text
from crnas_d2.data.annotations.coco import parse_json
from crnas_d2.data.images.pictures import IMAGES

_WORDS = {
    "train": ("train", "training", "trainval"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
_MANY = 20  # files of one folder that are of one kind
_FIRST = 5  # of these, which tell the kind
_WORD = re.compile("[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
PARTS = {word: part for part, words in _WORDS.items() for word in words}


def part_of(path: str) -> str:
    """Return the part that a relative path names, train, val or test; the last word decides.

    TestImages and test_images have the same words, and testset is a test.
    """
    words = [re.sub("(?:set|data|images|imgs)$", "", w.lower()) for w in _WORD.findall(path)]
    return next((PARTS[word] for word in reversed(words) if word in PARTS), "")


def fold(name: str) -> str:
    """Return what names share that differ in case, or in how accents are encoded."""
    return unicodedata.normalize("NFC", name).casefold()


def stem_of(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]


class Folder:
    """All files below a folder but hidden ones; paths are relative to ``root``, with slashes.

    Attributes:
        broken: why files that were looked at cannot be read.
        chosen: the only file of annotations that counts, if the user has named a file.

    Args:
        below: the folders in it that count.
    """

    def __init__(self, path: AnyPath, below: Sequence[str] = ("",)):
        self.root = Path(path)
        self.chosen = ""
        if self.root.is_file():
            if self.root.suffix in (".zip", ".tar", ".gz", ".tgz", ".rar", ".7z"):
                raise ValueError(f"{path} is an archive: unpack it, and name its folder.")
            self.root, self.chosen = self.root.parent, self.root.name
        elif not self.root.is_dir():
            raise ValueError(f"{path} does not exist; expected the folder of a dataset.")
        self.files = [file for part in below for file in _walk(self.root, part)]
        self._all = set(self.files)
        self.broken: list[str] = []
        self._json: dict[str, tuple[Any, list[str]]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._all

    def annotations(self, *suffixes: str) -> list[str]:
        """Return the files with one of these suffixes, those in the outermost folders first."""
        files = [self.chosen] if self.chosen else self.files
        found = [file for file in files if file.lower().endswith(suffixes)]
        return sorted(found, key=lambda file: (file.count("/"), file))

    def find(self, path: str) -> str:
        """Return a file, or the only one whose path is the same but for :func:`fold`."""
        if path in self._all:
            return path
        found = self._folded.get(fold(path), [])
        return found[0] if len(found) == 1 else ""

    def json(self, name: str, *, keep: bool = True) -> tuple[Any, list[str]]:
        """Return what a JSON file holds, and where keys occur twice.

        Args:
            keep: for the next who asks.

        Raises:
            ValueError: it is none.
        """
        found = self._json.pop(name, None)
        if found is None:
            text = read_text(self.root / name)
            try:
                found = parse_json(text)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{self.root / name} is not JSON: {error}.") from error
        if keep:
            self._json[name] = found
        return found

    @cached_property
    def images(self) -> list[str]:
        return [file for file in self.files if file.lower().endswith(IMAGES)]

    @cached_property
    def _folded(self) -> dict[str, list[str]]:
        found = defaultdict(list)
        for file in self.files:
            found[fold(file)].append(file)
        return found

    @cached_property
    def _by_stem(self) -> dict[str, list[str]]:
        found = defaultdict(list)
        for image in self.images:
            found[fold(stem_of(image))].append(image)
        return found

    def with_stem(self, stem: str, near: str) -> list[str]:
        """Return the images of a stem, the nearest to the folder ``near`` if there are several."""
        alike = self._by_stem.get(fold(stem), [])
        found = [file for file in alike if stem_of(file) == stem] or alike
        if len(found) < 2:
            return found
        shared = [_common(near.split("/"), file.split("/")[:-1]) for file in found]
        most = max(shared, default=0)
        return [file for file, n in zip(found, shared, strict=True) if n == most]

    def find_image(self, name: str, bases: Sequence[str]) -> tuple[str, str]:
        """Find the image that a file of annotations names.

        Args:
            bases: folders to which the name may be relative.

        Returns:
            the file, and in words how its name differs; no file, and in words if several may be it.
        """
        for base in bases:
            path = os.path.normpath(os.path.join(base, name))
            if path in self._all or (os.path.isabs(name) and os.path.isfile(name)):
                return path, ""
            if path.startswith("..") and (self.root / path).is_file():
                return path, ""
        plain = plain_name(name)
        for written in dict.fromkeys((plain, unquote(plain))):
            end = os.path.normpath(fold(written)).split("/")[::-1]
            found = self._by_stem.get(stem_of(end[0]), [])
            if found := [file for file in found if fold(os.path.basename(file)) == end[0]]:
                break
        ends = [_common(fold(file).split("/")[::-1], end) for file in found]
        most = max(ends, default=0)
        found = [file for file, end in zip(found, ends, strict=True) if end == most]
        if len(found) == 1:
            return found[0], f"{name} = {found[0]}"
        names = ", ".join(found[:3])
        return "", f"{name} ({len(found)} files have this name: {names})" if found else ""

    def base_of(self, names: Sequence[str], file: str) -> str:
        """Return the folder to which the names of images in a file of annotations are relative.

        It is the one with the most of them; of equal ones, that of the same part and the nearest.

        Raises:
            ValueError: two are equal in all this.
        """
        near = os.path.dirname(file)
        folders = {os.path.dirname(image) for image in self.images} | {near, ""}
        folders |= {str(parent) for folder in folders for parent in PurePosixPath(folder).parents}
        sample = names[:: len(names) // 50 + 1]
        ranks: dict[tuple[int, bool, int], list[str]] = defaultdict(list)
        for folder in folders - {"."}:
            hits = sum(os.path.normpath(os.path.join(folder, name)) in self for name in sample)
            is_same_part = part_of(folder) == part_of(file)
            shared = _common(near.split("/"), folder.split("/"))
            ranks[hits, is_same_part, shared].append(folder)
        best = max(ranks)
        if best[0] and len(ranks[best]) > 1:
            first, second, *_ = sorted(ranks[best])
            raise ValueError(
                f"{self.root / file}: {sample[0]} and others are in {first}/ and in {second}/; "
                "name the folder of its images with --coco JSON IMAGES."
            )
        return ranks[best][0] if best[0] else near


def json_files(folder: Folder, is_one: Callable[[Any], bool], *, strict: bool = False) -> list[str]:
    """Return the JSON files of a layout; of many in a folder, the first ones decide.

    Args:
        strict: raise ValueError for what is not JSON; else it is none.
    """
    in_folder: dict[str, list[str]] = defaultdict(list)
    for file in folder.annotations(".json"):
        in_folder[os.path.dirname(file)].append(file)
    found = []
    for files in in_folder.values():
        is_many = len(files) > _MANY
        for file in files[:_FIRST] if is_many else files:
            try:
                is_found = is_one(folder.json(file)[0])
            except ValueError as error:
                if strict:
                    raise
                folder.broken.append(str(error))
                continue
            if is_found:
                found += files if is_many else [file]
                if is_many:
                    break
    return found


def _walk(root: Path, below: str) -> Iterator[str]:
    def fail(error: OSError) -> NoReturn:
        raise error  # else os.walk leaves out what cannot be read

    seen = set()
    for folder, folders, files in os.walk(root / below, onerror=fail, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link to a folder above
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(f for f in folders if f[0] != "." and f != "__MACOSX")
        if {"annotation_report.json", "data.yaml"} <= {*files} and folder != str(root):
            folders.clear()  # what prepare has written
            continue
        prefix = Path(os.path.relpath(folder, root)).as_posix()
        for file in sorted(files):
            if file[0] != ".":
                yield file if prefix == "." else f"{prefix}/{file}"


def plain_name(name: str) -> str:
    """Return the path in a name that may be a URL or have backslashes."""
    if "?d=" in name:  # Label Studio
        return unquote(name.partition("?d=")[2])
    if "://" in name:
        return unquote(urlsplit(name).path).lstrip("/")
    return name.strip().replace("\\", "/")


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """Return how many of their first items agree."""
    pairs = zip(one, other, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
