"""What describes a YOLO dataset: data.yaml, obj.data, classes.txt; and where its files are."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import yaml

from crnas_d2.common.errors import invalid
from crnas_d2.common.files import read_text

from .folder import Folder, part_of

_SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_NAMES = ("classes.txt", ".names", "_darknet.labels")  # ends of files with a class per line


@dataclass
class Description:
    """What describes a dataset.

    Attributes:
        source: its file, relative to the folder.
        names: of the classes, by number.
        splits: folders and lists of images, by part; without, the folders of images decide.
        path: the folder to which these are relative.
        points: numbers that follow each box in pose labels.
    """

    source: str
    names: dict[int, str]
    splits: dict[str, list[str]] = field(default_factory=dict)
    path: str = ""
    points: int = 0


def descriptions(folder: Folder) -> list[str]:
    """Return the outermost data.yaml and obj.data files."""
    files = [
        file
        for file in folder.annotations(".yaml", ".yml", ".data")
        if file.endswith(".data") or {"names", "nc"} & _parse_if_one(folder, file).keys()
    ]
    return [file for file in files if file.count("/") == files[0].count("/")]


def describe(folder: Folder) -> Description:
    """Read what describes a dataset.

    Raises:
        ValueError: two files do, or there are no names of the classes.
    """
    files = descriptions(folder)
    lists = [file for file in folder.files if file.lower().endswith(_NAMES)]
    if len(files) > 1:
        fix = "Give the path of that file instead of the folder's"
        raise invalid("The folder", str(folder.root), f"one of {', '.join(files)}", fix=fix)
    if files and not files[0].endswith(".data"):
        return _read_yaml(folder.root / files[0], files[0])
    splits = {}
    if files:
        lines = [line.partition("=") for line in read_text(folder.root / files[0]).splitlines()]
        values = {key.strip(): value.strip() for key, _, value in lines}
        name = os.path.basename(values.get("names", ""))
        lists = [file for file in lists if os.path.basename(file) == name]
        if not lists:
            raise invalid(f"{folder.root / files[0]}: names", name, "a file of the folder")
        splits = {_SPLITS[key]: [value] for key, value in values.items() if key in _SPLITS}
    if not lists:
        raise ValueError(
            f"{folder.root}: the labels have class numbers, and no file has the names of the "
            "classes; expected data.yaml, obj.names or classes.txt (a class per line)."
            + "".join(f" {error}" for error in dict.fromkeys(folder.broken))
        )
    names = [read_text(folder.root / file).strip().splitlines() for file in lists]
    for file, others in zip(lists, names, strict=True):
        if others != names[0]:
            raise invalid(f"{folder.root / file}", others, f"the classes of {lists[0]}, {names[0]}")
    stripped = {number: name.strip() for number, name in enumerate(names[0])}
    if not all(stripped.values()):
        raise invalid(f"{folder.root / lists[0]}", names[0], "a class in each line")
    return Description((files or lists)[0], stripped, splits)


class _Loader(yaml.BaseLoader):
    """Reads every value as text (so no class becomes True), and no key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        if twice := [key for key in keys if keys.count(key) > 1]:
            words = f"the key '{twice[0]}' occurs twice"
            raise yaml.MarkedYAMLError(problem=words, problem_mark=node.start_mark)
        return dict(super().construct_mapping(node, deep))


def _parse(file: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file, if it is one.

    Raises:
        ValueError: it is no YAML, or no text.
    """
    try:
        content = yaml.load(read_text(file), _Loader)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ValueError(f"{file}{line}: {error.problem}.") from error
    except yaml.YAMLError as error:
        raise ValueError(f"{file} is not YAML: {error}.") from error
    return content if isinstance(content, dict) else {}


def _parse_if_one(folder: Folder, file: str) -> dict[str, Any]:
    """Return the mapping in a file that may be anything."""
    try:
        return _parse(folder.root / file)
    except ValueError as error:
        if "occurs twice" in str(error):
            raise
        folder.broken.append(str(error))
        return {}


def _read_yaml(file: Path, source: str) -> Description:
    content = _parse(file)
    names, count = content.get("names"), content.get("nc")
    if isinstance(names, list):
        names = {str(number): name for number, name in enumerate(names)}
    if not isinstance(names, dict) or not names:
        raise invalid(f"{file}: names", names, "a list, or a mapping from class numbers to names")
    for number, name in names.items():
        if not number.isdecimal() or not isinstance(name, str) or not name.strip():
            raise invalid(f"{file}: names[{number}]", name, "a class number and a name")
    if count is not None and count != str(len(names)):
        raise invalid(f"{file}: nc", count, f"the number of names, {len(names)}")
    splits = {
        _SPLITS[key]: value if isinstance(value, list) else [value]
        for key, value in content.items()
        if key in _SPLITS and value
    }
    for key, entries in [*splits.items(), ("path", [content.get("path", "")])]:
        if not all(isinstance(entry, str) for entry in entries):
            raise invalid(f"{file}: {key}", entries, "paths")
    shape = content.get("kpt_shape", ["0"])
    if not isinstance(shape, list) or not all(number.isdecimal() for number in shape):
        raise invalid(f"{file}: kpt_shape", shape, "[NUMBER OF POINTS, 2 or 3]")
    by_number = {int(number): name.strip() for number, name in names.items()}
    path, points = content.get("path", ""), prod(map(int, shape))
    return Description(source, by_number, splits, path, points)


def place(entry: str, bases: list[Path]) -> Path | None:
    """Return the file or folder of an entry, or nothing.

    Of a path of another machine the last names count, as many as exist, among them that of a part.
    """
    found = next((base / entry for base in bases if (base / entry).exists()), None)
    if found:
        return found
    names = [name for name in entry.replace("\\", "/").split("/") if name not in ("", ".", "..")]
    tails = ["/".join(names[start:]) for start in range(len(names))]
    tails = [tail for tail in tails if part_of(tail) == part_of(entry)]
    return next((base / t for t in tails for base in bases if (base / t).exists()), None)


def label_files(image: str) -> Iterator[str]:
    """Yield where the labels of an image may be: in labels/ for images/, beside it, or below."""
    folder, name = os.path.split(os.path.splitext(image)[0] + ".txt")
    path = f"/{folder}/"
    start = path.lower().rfind("/images/")
    if start >= 0:
        yield f"{path[:start]}/labels/{path[start + len('/images/') :]}{name}".removeprefix("/")
    yield os.path.join(folder, name)
    yield os.path.join(folder, "labels", name)
