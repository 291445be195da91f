"""The parts of the user's data: checked against each other, and split."""

import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches

from crnas_d2.common.errors import invalid
from crnas_d2.data.annotations.coco import Record, subset
from crnas_d2.data.annotations.groups import Groups, find_groups
from crnas_d2.data.annotations.image_faults import Taken, images_taken
from crnas_d2.data.annotations.mends import Fault
from crnas_d2.data.annotations.part import Part
from crnas_d2.data.annotations.splits import split_coco
from crnas_d2.data.images.files import read_image_files

from .annotation_report import Report, check_annotations

# A category with at most one object for so many of another one, and with names so alike (0 to 1).
_FREQUENT, _ALIKE = 50, 0.75


def check_parts(
    parts: Mapping[str, Part],
    *,
    accepted: Collection[str] = (),
    group: str | None = None,
    is_scaled: bool = False,
) -> tuple[dict[str, Part], dict[str, Report], Groups]:
    """Decode all images, check all annotations, and return the mended parts with their reports.

    An image that is in two parts, or looks like one of another part, stays in the first.

    Args:
        accepted: what is not refused, see ``Kind.accept``.
        group: a pattern of names, see :func:`find_groups`.
        is_scaled: whether images of more than 8 bits per channel will be scaled.

    Returns:
        also the images that belong together, by their names in these parts.
    """
    files = {
        name: read_image_files(
            [image["file_name"] for image in part.coco["images"]],
            part.image_root,
            title=f"Decoding images of {name}",
        )
        for name, part in parts.items()
    }
    if is_scaled:
        for its in files.values():
            its.update({name: file._replace(values=None) for name, file in its.items()})
    paths = {_path(parts[part], name): name for part, its in files.items() for name in its}
    groups = find_groups(
        {_path(parts[part], name): f for part, its in files.items() for name, f in its.items()},
        group,
        paths,
    )
    mended, reports = {}, {}
    taken: dict[str, Taken] = {}
    photographs: dict[str, str] = {}
    sets: dict[str, str] = {}
    for name, part in parts.items():
        report = reports[name] = check_annotations(part.coco, files[name], taken, accepted)
        for kind, places in part.findings.items():
            report.findings.setdefault(kind, []).extend(places)
        _drop_copies(report, part, groups, photographs, sets)
        for image in report.coco["images"]:
            path = _path(part, image["file_name"])
            photographs.setdefault(groups.copies[path], f"{image['file_name']} in {name}")
            sets.setdefault(groups.of[path], f"{image['file_name']} in {name}")
        known = {image["id"] for image in report.coco["images"]}
        info = {"checked": report.counts(), "split": {"part": name, "sources": part.sources}}
        if accepted:
            info["accepted"] = sorted(accepted)
        mended[name] = replace(part, coco=subset(report.coco, known, info))
        taken |= images_taken(report.coco, files[name], name)
        objects = (a for a in mended[name].coco["annotations"] if a.get("iscrowd") != 1)
        if mended[name].num_images and not any(objects):
            places = [f"{mended[name].num_images:,} images"]
            report.findings["parts without an object"] = places
    _check_classes(mended, reports)
    return mended, reports, groups


def _path(part: Part, name: str) -> str:
    return os.path.join(part.image_root, name)


def _drop_copies(
    report: Report,
    part: Part,
    groups: Groups,
    photographs: Mapping[str, str],
    sets: Mapping[str, str],
) -> None:
    """Drop the images that other parts have in another form, and name those of shared groups."""
    copies, shared = [], []
    for image in report.coco["images"]:
        path = _path(part, image["file_name"])
        if other := photographs.get(groups.copies[path]):
            copies.append(Fault(f"{image['file_name']} ~ {other}", image))
        elif other := sets.get(groups.of[path]):
            shared.append(Fault(f"{image['file_name']} and {other}", image))
    faults = {
        "images like one of another part": copies,
        "images of a video or group of another part": shared,
    }
    report.mend({kind: found for kind, found in faults.items() if found})


def _check_classes(parts: Mapping[str, Part], reports: Mapping[str, Report]) -> None:
    """Name the classes with at most one object in all parts together, in the last report."""
    counts: Counter[int] = Counter()
    for part in parts.values():
        counts.update(annotation["category_id"] for annotation in part.coco["annotations"])
    *_, (name, report) = reports.items()
    rare = [
        f"{category['name']} (objects: {counts[category['id']]})"
        for category in parts[name].coco["categories"]
        if counts[category["id"]] <= 1
    ]
    if rare:
        report.findings["categories with at most one object"] = rare


def usual_size(part: str, images: int) -> int:
    """Return how many of so many images a part takes.

    It is a fifth; of few 100 images, archval takes 100, but at most a third.
    """
    return max(1, round(max(0.2 * images, min(100, images / 3) if part == "archval" else 0)))


def divide(
    parts: Mapping[str, Part],
    sizes: Sequence[tuple[str, float | None]],
    seed: int,
    groups: Groups,
) -> dict[str, Part]:
    """Hold parts out of ``train``, stratified by category; archtrain is the rest.

    Args:
        parts: ``train``, and the parts that were given as files.
        sizes: name and size of the parts to hold out, one after the other; a fraction refers to
            the images that are left, and ``None`` to :func:`usual_size`.
        groups: images that stay in one part.

    Raises:
        ValueError: too few images, or none with an object to train on.
    """
    if empty := [name for name, part in parts.items() if not part.num_images]:
        raise ValueError(
            f"No image is left in {empty[0]}: all were dropped, e.g. as copies of those of another "
            "part. Name other parts, or let --test 0.2 --archval 0.2 divide all images anew."
        )
    parts = dict(parts)
    rest = parts.pop("train")
    if rest.num_images <= len(sizes):
        names = " and ".join(["archtrain", *(name for name, _ in sizes)])
        raise ValueError(
            f"{rest.num_images} images are left to train on, too few for {names}: expected one or "
            "more for each. --test 0 needs no test set."
        )
    for name, size in sizes:
        of = {i["file_name"]: groups.of[_path(rest, i["file_name"])] for i in rest.coco["images"]}
        cocos = split_coco(
            rest.coco,
            usual_size(name, rest.num_images) if size is None else size,
            seed=seed,
            stratify=True,
            sources=rest.sources,
            held_out=name,
            groups=of if len(set(of.values())) < len(of) else None,
        )
        rest, parts[name] = (Part(coco, rest.image_root, rest.sources) for coco in cocos)
    if all(annotation.get("iscrowd") == 1 for annotation in rest.coco["annotations"]):
        raise ValueError(
            f"No dataset was written: archtrain has {rest.num_images} images, and no object to "
            "train on in them but crowd regions. Annotate objects first."
        )
    parts["archtrain"] = rest
    return {name: parts[name] for name in ("archtrain", "archval", "test") if name in parts}


def divide_folds(
    whole: Part,
    folds: int,
    sizes: Sequence[tuple[str, float | None]],
    seed: int,
    groups: Groups,
) -> list[dict[str, Part]]:
    """Divide a dataset so often that each image is in one test set; see :func:`divide`.

    Args:
        sizes: with that of archval; each test set has ``1 / folds`` of the images.
    """
    if folds > whole.num_images:
        raise invalid("--folds", folds, f"at most the number of images, {whole.num_images}")
    archval = [pair for pair in sizes if pair[0] == "archval"]
    rest, tests = whole, []
    for left in range(folds, 1, -1):
        parts = divide({"train": rest}, [("test", round(rest.num_images / left))], seed, groups)
        tests.append(parts["test"])
        rest = parts["archtrain"]
    tests.append(rest)
    divided = []
    for test in tests:
        tested = {image["id"] for image in test.coco["images"]}
        others = {image["id"] for image in whole.coco["images"]} - tested
        train = Part(subset(whole.coco, others, {}), whole.image_root, whole.sources)
        divided.append(divide({"train": train, "test": test}, archval, seed, groups))
    return divided


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
