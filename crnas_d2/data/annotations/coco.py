"""Read, select from and write COCO JSON files."""

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from crnas_d2.common.errors import invalid
from crnas_d2.common.files import AnyPath, write_file
from crnas_d2.config import spell

Record = dict[str, Any]
BOM = "\ufeff"

# The keys that each record has, and their types.
_KEYS: dict[str, dict[str, type]] = {
    "images": {"id": int, "file_name": str},
    "annotations": {"image_id": int, "category_id": int},
    "categories": {"id": int, "name": str},
}


def read_coco(file: AnyPath, *, needs_annotations: bool = True) -> Record:
    """Read a COCO JSON file.

    Args:
        needs_annotations: whether the list of annotations may not be absent.

    Raises:
        ValueError: no such file, no JSON that pycocotools reads, or not the structure of COCO's
            instances files: ids that are no whole numbers, records without a name, ...
    """
    try:
        text = Path(file).read_text(encoding="utf-8")
        coco, repeated = parse_json(text.removeprefix(BOM))
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not JSON: {error}.") from error
    fix = f"Save it again, or let {spell('prepare')} write a copy"
    if text.startswith(BOM):
        raise ValueError(
            f"{file} begins with a byte order mark, which pycocotools does not read. {fix}."
        )
    if repeated and "repeated-keys" not in accepted_kinds(coco):
        raise ValueError(f"{file} has keys that occur twice in an object: {repeated[0]}. {fix}.")
    return check_structure(coco, file, needs_annotations=needs_annotations)


def check_structure(coco: Any, file: AnyPath, *, needs_annotations: bool = True) -> Record:
    """Return what a COCO file holds, if it has the structure that :func:`read_coco` demands."""
    found = coco if isinstance(coco, dict) else {}
    absent = set() if needs_annotations else {"annotations"} - found.keys()
    if not all(isinstance(found.get(key), list) for key in _KEYS.keys() - absent):
        raise ValueError(
            f"{file} holds {sorted(coco) if found else type(coco).__name__}; expected COCO's lists "
            f"{', '.join(_KEYS)} (a file of instances; image_info files have no annotations)."
        )
    for records, keys in _KEYS.items():
        for position, record in enumerate(coco.get(records, [])):
            where = f"{records}[{position}]"
            if not isinstance(record, dict) or not keys.keys() <= record.keys():
                expected = f"an object with the keys {', '.join(sorted(keys))}"
                raise invalid(f"{file}: {where}", record, expected)
            for key, kind in keys.items():
                if type(record[key]) is not kind or record[key] == "":
                    named = f" (id {record['id']!r})" if key != "id" and "id" in record else ""
                    expected = "text" if kind is str else "a whole number"
                    raise invalid(f"{file}: {key} of {where}{named}", record[key], expected)
    if not coco["categories"]:
        raise ValueError(f"{file} has no categories; a detector needs at least one.")
    return found


def parse_json(text: str) -> tuple[Any, list[str]]:
    """Parse JSON, and list the objects in which a key occurs twice, with the key.

    Raises:
        ValueError, RecursionError: it is not JSON.
    """
    repeated: list[str] = []

    def build(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        record = dict(pairs)
        if len(record) < len(pairs):
            keys = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
            repeated.append(f"{', '.join(keys)} of {str(record)[:80]}")
        return record

    return json.loads(text, object_pairs_hook=build), repeated


def accepted_kinds(coco: Any) -> list[str]:
    """Return what ``prepare`` was told to accept in a file, see ``Kind.accept``."""
    info = coco.get("info") if isinstance(coco, dict) else None
    accepted = info.get("accepted") if isinstance(info, dict) else None
    return accepted if isinstance(accepted, list) else []


def subset(coco: Record, image_ids: Collection[int], info: Mapping[str, object]) -> Record:
    """Return the part of a dataset with these images; everything else but ``info`` is kept.

    Args:
        info: entries added to the ``info`` of the dataset.
    """
    image_ids = set(image_ids)
    return {
        **coco,
        "info": {**(coco["info"] if isinstance(coco.get("info"), dict) else {}), **info},
        "images": [image for image in coco["images"] if image["id"] in image_ids],
        "annotations": [a for a in coco["annotations"] if a["image_id"] in image_ids],
    }


def missing_categories(part: Record, whole: Sequence[Record]) -> list[str]:
    """Return the names of the categories with objects in ``whole``, but without any in ``part``."""
    there = {annotation["category_id"] for annotation in part["annotations"]}
    anywhere = {annotation["category_id"] for coco in whole for annotation in coco["annotations"]}
    return [c["name"] for c in part["categories"] if c["id"] in anywhere - there]


def save_files(
    files: Mapping[Path, Record | str],
    *,
    overwrite: bool = False,
    replaceable: Collection[Path] = (),
) -> dict[Path, bool]:
    """Write each file as a whole, and none at all if one of them must not be overwritten.

    Args:
        files: text, or data for JSON, keyed by path.
        replaceable: those that may be replaced also without ``overwrite``.

    Returns:
        for each path, whether it was written; ``False`` if it already has this content.

    Raises:
        FileExistsError: a file has other content, and ``overwrite`` is not set.
    """
    texts = {
        path: content if isinstance(content, str) else as_json(content)
        for path, content in files.items()
    }
    written = {
        path: not path.is_file() or path.read_bytes() != text.encode()
        for path, text in texts.items()
    }
    for path, is_new in written.items():
        if is_new and path.exists() and not overwrite and path not in replaceable:
            raise FileExistsError(
                f"{path} exists and differs from what would be written. Move it away, or replace "
                "it with --overwrite."
            )
    for path, text in texts.items():
        if written[path]:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, text)
    return written


def as_json(content: Record) -> str:
    """Return plain data in one line."""
    return json.dumps(content, separators=(",", ":")) + "\n"
