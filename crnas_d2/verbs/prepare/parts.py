"""The parts of the user's data: read from COCO or VOC files, checked, and split."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

from crnas_d2.common.digests import sha256
from crnas_d2.common.files import AnyPath
from crnas_d2.data.annotations.coco import Record, read_coco, subset
from crnas_d2.data.annotations.part import Part
from crnas_d2.data.annotations.splits import split_coco
from crnas_d2.data.images.files import read_image_files
from crnas_d2.data.layouts.voc import voc_files, voc_part

from .annotation_report import Report, check_annotations

# A category with at most one object for so many of another one, and with names so alike (0 to 1).
_FREQUENT, _ALIKE = 50, 0.75


def read_coco_parts(files: Mapping[str, tuple[AnyPath, AnyPath]]) -> dict[str, Part]:
    """Read COCO JSON files.

    Args:
        files: ``(json file, image folder)``, keyed by the name of the part.

    Raises:
        ValueError: an unreadable file, no such folder, or parts with different categories.
    """
    parts = {}
    for name, (file, folder) in files.items():
        if not Path(folder).is_dir():
            raise ValueError(f"The image folder {folder} of {file} does not exist.")
        parts[name] = Part(read_coco(file), Path(folder), {Path(file).name: sha256(file)})
    categories = {
        name: sorted((category["id"], category["name"]) for category in part.coco["categories"])
        for name, part in parts.items()
    }
    first, *others = files
    for other in others:
        if categories[other] != categories[first]:
            raise ValueError(
                f"{files[first][0]} and {files[other][0]} have different categories: "
                f"{categories[first]} and {categories[other]}; expected the same ids and names."
            )
    return parts


def read_voc_parts(folder: AnyPath, image_sets: Mapping[str, str | None]) -> dict[str, Part]:
    """Read a VOC folder; the categories are all names that occur in these parts, sorted.

    Args:
        image_sets: the image set of each part, keyed by its name; ``None`` for all images. An
            image goes to the first part that has it, and is left out of the others.
    """
    files: dict[str, list[Path]] = {}
    taken: set[Path] = set()
    for name, image_set in image_sets.items():
        files[name] = [file for file in voc_files(folder, image_set) if file not in taken]
        taken.update(files[name])
    everything = voc_part([file for some in files.values() for file in some], folder)
    names = [category["name"] for category in everything.coco["categories"]]
    return {
        name: Part(
            voc_part(some, folder, names).coco,
            Path(folder),
            {f"{len(some)} files of Annotations, by name or image set": sha256(*some)},
        )
        for name, some in files.items()
    }


def check_parts(parts: Mapping[str, Part]) -> tuple[dict[str, Part], dict[str, Report]]:
    """Decode all images, check all annotations, and return the mended parts with their reports.

    An image that is in two parts stays in the first.
    """
    mended, reports = {}, {}
    digests: dict[str, str] = {}
    for name, part in parts.items():
        names = [image["file_name"] for image in part.coco["images"]]
        files = read_image_files(names, part.image_root, title=f"Decoding images of {name}")
        report = reports[name] = check_annotations(part.coco, files, digests)
        info = {"checked": report.counts(), "split": {"part": name, "sources": part.sources}}
        known = {image["id"] for image in report.coco["images"]}
        mended[name] = Part(subset(report.coco, known, info), part.image_root, part.sources)
        digests.update({file.digest: f"{key} in {name}" for key, file in files.items()})
        digests.pop("", None)  # of files that could not be read
    return mended, reports


def usual_size(images: int) -> int:
    """Return how many of so many images archval takes: a fifth; of few 100, at most a third."""
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
        cocos = split_coco(
            rest.coco,
            usual_size(rest.num_images) if size is None else size,
            seed=seed,
            stratify=True,
            sources=rest.sources,
            held_out=name,
        )
        rest, parts[name] = (Part(coco, rest.image_root, rest.sources) for coco in cocos)
    parts["archtrain"] = rest
    return {name: parts[name] for name in ("archtrain", "archval", "test") if name in parts}


def likely_typos(cocos: Iterable[Record]) -> list[str]:
    """Describe the categories that have the name of a far more frequent one, but for a typo."""
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
