"""Check the user's own COCO or VOC annotations, and split them into archtrain, archval and test."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from crnas_d2.common.digests import sha256
from crnas_d2.data.annotations.coco import read_coco, split_coco, subset
from crnas_d2.data.annotations.voc import voc_files, voc_to_coco
from crnas_d2.data.images.files import read_image_files

from .annotation_report import Report, check_annotations

# A category with at most one object for so many of another one, and with names so alike (0 to 1).
_FREQUENT, _ALIKE = 50, 0.75


@dataclass
class Part:
    """Annotations, the folder of their images, and the sha256 of each source file."""

    coco: dict
    image_root: Path
    sources: dict[str, str]


def read_coco_parts(files: Mapping[str, tuple[str | os.PathLike, str | os.PathLike]]) -> dict:
    """Read COCO JSON files.

    Args:
        files: ``(json file, image folder)``, keyed by the name of the part.

    Returns:
        each :class:`Part`, keyed by name.

    Raises:
        ValueError: an unreadable file, no such folder, or parts with different categories.
    """
    parts = {}
    for name, (file, folder) in files.items():
        if not Path(folder).is_dir():
            raise ValueError(f"The image folder {folder} of {file} does not exist.")
        parts[name] = Part(read_coco(file), Path(folder), {Path(file).name: sha256(file)})
    first, *others = parts
    for other in others:
        ours, theirs = (
            sorted((c["id"], c["name"]) for c in parts[name].coco["categories"])
            for name in (first, other)
        )
        if ours != theirs:
            raise ValueError(
                f"{files[first][0]} and {files[other][0]} have different categories: {ours} and "
                f"{theirs}; expected the same ids and names."
            )
    return parts


def read_voc_parts(folder: str | os.PathLike, image_sets: Mapping[str, str | None]) -> dict:
    """Read a VOC folder; the categories are all names that occur in these parts, sorted.

    Args:
        image_sets: the image set of each part, keyed by its name; ``None`` for all images. An
            image goes to the first part that has it, and is left out of the others.

    Returns, raises: see :func:`read_coco_parts`.
    """
    files, taken = {}, set()
    for name, image_set in image_sets.items():
        files[name] = [file for file in voc_files(folder, image_set) if file not in taken]
        taken.update(files[name])
    everything = voc_to_coco([file for some in files.values() for file in some], folder)
    names = [category["name"] for category in everything["categories"]]
    return {
        name: Part(
            voc_to_coco(some, folder, names),
            Path(folder),
            {f"{len(some)} files of Annotations, by name or image set": sha256(*some)},
        )
        for name, some in files.items()
    }


def check_parts(parts: Mapping[str, Part]) -> tuple[dict[str, Part], dict[str, Report]]:
    """Decode all images and check all annotations, see
    :func:`~crnas_d2.verbs.prepare.annotation_report.check_annotations`.

    Args:
        parts: an image that is in two of them stays in the first.

    Returns:
        the fixed parts, and the report of each.
    """
    mended, reports = {}, {}
    digests: dict[str, str] = {}
    for name, part in parts.items():
        names = [image["file_name"] for image in part.coco["images"]]
        files = read_image_files(names, part.image_root, title=f"Decoding images of {name}")
        reports[name] = check_annotations(part.coco, files, digests)
        known = {image["id"] for image in reports[name].coco["images"]}
        info = {"checked": reports[name].counts(), "split": {"part": name, "sources": part.sources}}
        coco = subset(reports[name].coco, known, info)
        mended[name] = Part(coco, part.image_root, part.sources)
        digests.update({file.digest: f"{key} in {name}" for key, file in files.items()})
        digests.pop("", None)  # of files that could not be read
    return mended, reports


def usual_size(images: int) -> int:
    """Return the size of an archval that is held out of so many images.

    A fifth; of few images more, because a small archval tells no networks apart: 100 images, but at
    most a third.
    """
    return max(1, round(max(0.2 * images, min(100, images / 3))))


def divide(
    parts: Mapping[str, Part], sizes: Sequence[tuple[str, float | None]], seed: int
) -> dict[str, Part]:
    """Hold parts out of ``train``, stratified by category; archtrain is the rest.

    Args:
        parts: ``train``, and the parts that were given as files.
        sizes: name and size of the parts to hold out, one after the other; a fraction refers to
            the images that are left, and ``None`` to :func:`usual_size`.
    """
    parts = dict(parts)
    rest = parts.pop("train")
    for name, size in sizes:
        if size is None:
            size = usual_size(len(rest.coco["images"]))
        kept, held_out = split_coco(
            rest.coco, size, seed=seed, stratify=True, sources=rest.sources, held_out=name
        )
        parts[name] = Part(held_out, rest.image_root, rest.sources)
        rest = Part(kept, rest.image_root, rest.sources)
    parts["archtrain"] = rest
    return {name: parts[name] for name in ("archtrain", "archval", "test") if name in parts}


def likely_typos(cocos: Iterable[dict]) -> list[str]:
    """Describe the categories that have the name of a far more frequent one, but for a typo.

    Args:
        cocos: all parts, with the same categories.
    """
    counts: Counter[str] = Counter()
    for coco in cocos:
        names = {category["id"]: category["name"] for category in coco["categories"]}
        counts.update(names[annotation["category_id"]] for annotation in coco["annotations"])
    found = []
    for name, count in counts.items():
        frequent = {n.lower(): n for n, c in counts.items() if n != name and c >= _FREQUENT * count}
        for near in get_close_matches(name.lower(), frequent, n=1, cutoff=_ALIKE):
            other = frequent[near]
            found.append(f"{name} (objects: {count:,}; {other}: {counts[other]:,})")
    return sorted(found)
