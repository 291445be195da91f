"""Read, split and write COCO JSON files, and record the sources of each part."""

import json
import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from crnas_d2.common.files import write_file
from crnas_d2.config import spell
from crnas_d2.data.images.equal_files import find_repeated

from .splits import (
    METHODS,
    held_out_count,
    random_split,
    stratified_split,
)

# The keys that each record has, and their types.
_KEYS = {
    "images": {"id": int, "file_name": str},
    "annotations": {"image_id": int, "category_id": int},
    "categories": {"id": int, "name": str},
}
_WORDS = {int: "a whole number", str: "text"}


def read_coco(file: str | os.PathLike, *, needs_annotations: bool = True) -> dict:
    """Read a COCO JSON file.

    Args:
        needs_annotations: whether the list of annotations may not be absent.

    Raises:
        ValueError: no such file, no JSON, or not the structure of COCO's instances files: ids that
            are no whole numbers, records without a name, ...
    """
    try:
        coco = json.loads(Path(file).read_bytes())
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not JSON: {error}.") from error
    expected = {*_KEYS} - ({"annotations"} if not needs_annotations else set())
    if isinstance(coco, dict):
        expected |= coco.keys() & {"annotations"}
    if not isinstance(coco, dict) or not all(isinstance(coco.get(key), list) for key in expected):
        found = sorted(coco) if isinstance(coco, dict) else type(coco).__name__
        raise ValueError(
            f"{file} holds {found}; expected COCO's lists {', '.join(_KEYS)} (a file of instances; "
            "image_info files have no annotations)."
        )
    for records, keys in _KEYS.items():
        for position, record in enumerate(coco.get(records, [])):
            if not isinstance(record, dict) or not keys.keys() <= record.keys():
                raise ValueError(
                    f"{file}: {records}[{position}] is {record}; expected an object with the keys "
                    f"{', '.join(sorted(keys))}."
                )
            for key, kind in keys.items():
                if type(record[key]) is not kind or record[key] == "":
                    named = f" (id {record['id']!r})" if key != "id" and "id" in record else ""
                    raise ValueError(
                        f"{file}: {key} of {records}[{position}]{named} is {record[key]!r}; "
                        f"expected {_WORDS[kind]}."
                    )
    if not coco["categories"]:
        raise ValueError(f"{file} has no categories; a detector needs at least one.")
    return coco


def subset(coco: dict, image_ids: Collection[int], info: Mapping) -> dict:
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


def split_coco(
    coco: dict,
    size: float,
    *,
    seed: int,
    stratify: bool,
    sources: Mapping[str, str],
    held_out: str = "archval",
    rest: str = "archtrain",
    image_root: str | os.PathLike | None = None,
) -> tuple[dict, dict]:
    """Split a dataset by image.

    Images with a twin, another file of the same content, stay in the rest: none is in both parts.

    Args:
        size: of the part that is held out, see :func:`~.splits.held_out_count`.
        stratify: by the categories of each image, without crowd regions.
        sources: sha256 of each source file, for ``info``.
        held_out, rest: names of the parts, for ``info``.
        image_root: the folder of the images; ``None``: they are not compared.

    Returns:
        the rest and the part that is held out; ``info["split"]`` records how they were made.

    Raises:
        ValueError: an impossible size, or records that would belong to no part or to both.
    """
    ids = Counter(image["id"] for image in coco["images"])
    repeated = [image_id for image_id, count in ids.items() if count > 1]
    strays = [a.get("id") for a in coco["annotations"] if a["image_id"] not in ids]
    if repeated or strays:
        if repeated:
            what = f"image id {repeated[0]} occurs twice"
        else:
            what = (
                f"{len(strays)} annotations, the first with id {strays[0]}, are of no listed image"
            )
        raise ValueError(
            f"The annotations cannot be split by image: {what}. {spell('prepare')} "
            "reports such errors and fixes those that can be fixed."
        )
    labels: dict[int, set] = {image_id: set() for image_id in ids}
    for annotation in coco["annotations"]:
        if not annotation.get("iscrowd", 0):
            labels[annotation["image_id"]].add(annotation["category_id"])
    count = held_out_count(size, len(labels))
    twins = set() if image_root is None else _twins(coco, Path(image_root))
    unique = {image_id: its for image_id, its in labels.items() if image_id not in twins}
    if count > len(unique):
        raise ValueError(
            f"{count} of {len(labels)} images cannot be held out: {len(twins)} have the content "
            f"of another one, and stay together in {rest}. Hold out fewer."
        )
    chosen = (stratified_split if stratify else random_split)(unique, count, seed)
    parts = []
    for name, image_ids in ((rest, labels.keys() - chosen), (held_out, chosen)):
        split = {
            "part": name,
            "images": len(image_ids),
            "images_divided": len(labels),
            "seed": seed,
            "method": METHODS["stratified" if stratify else "random"],
            "sources": dict(sources),
            **({"images_with_a_twin": len(twins)} if twins else {}),
        }
        parts.append(subset(coco, image_ids, {"split": split}))
    return parts[0], parts[1]


def _twins(coco: dict, image_root: Path) -> set[int]:
    """Return the ids of the images whose file has the content of another one."""
    ids = {str(image_root / image["file_name"]): image["id"] for image in coco["images"]}
    return {ids[file] for file in find_repeated(list(ids))}


def missing_categories(part: dict, whole: Sequence[dict]) -> list[str]:
    """Return the names of the categories with objects in ``whole``, but without any in ``part``."""
    there = {annotation["category_id"] for annotation in part["annotations"]}
    anywhere = {annotation["category_id"] for coco in whole for annotation in coco["annotations"]}
    return [c["name"] for c in part["categories"] if c["id"] in anywhere - there]


def save_files(
    files: Mapping[Path, dict | str],
    *,
    overwrite: bool = False,
    replaceable: Collection[Path] = (),
) -> dict[Path, bool]:
    """Write each file atomically, and none at all if one of them must not be overwritten.

    Args:
        files: text, or data for JSON, keyed by path.
        replaceable: those that may be replaced also without ``overwrite``.

    Returns:
        for each path, whether it was written; ``False`` if it already has this content.

    Raises:
        FileExistsError: a file has other content, and ``overwrite`` is not set.
    """
    contents = {
        path: (content if isinstance(content, str) else _as_json(content)).encode()
        for path, content in files.items()
    }
    written = {path: not _holds(path, data) for path, data in contents.items()}
    for path in contents:
        if written[path] and path.exists() and not overwrite and path not in replaceable:
            raise FileExistsError(
                f"{path} exists and differs from what would be written. Move it away, or replace "
                "it with --overwrite."
            )
    for path, data in contents.items():
        if not written[path]:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, data)
    return written


def _as_json(content: dict) -> str:
    return json.dumps(content, separators=(",", ":")) + "\n"


def _holds(path: Path, data: bytes) -> bool:
    return path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data
