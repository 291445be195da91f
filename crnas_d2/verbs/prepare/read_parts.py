"""Read the user's data: its parts, under the names that they have here, and its classes."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from crnas_d2.common.digests import sha256
from crnas_d2.common.errors import did_you_mean
from crnas_d2.common.files import AnyPath
from crnas_d2.data.annotations.coco import Record
from crnas_d2.data.annotations.part import Part
from crnas_d2.data.layouts import find_layout
from crnas_d2.data.layouts.coco import check_categories, coco_part
from crnas_d2.data.layouts.voc import voc_files, voc_part

Sizes = list[tuple[str, float | None]]  # of parts to hold out, by name; None: the usual one


def read_parts(args: argparse.Namespace) -> tuple[dict[str, Part], Sizes, str]:
    """Return the existing parts, those to hold out, and what was read, in words.

    The parts are test, archval and train, in this order; what is in none of the first two is train.
    """
    given: dict[str, list[str]] = {}
    sizes: dict[str, float | None] = {}
    for name, option in (("test", args.test), ("archval", args.archval)):
        try:
            sizes[name] = float(*option) if option else None
        except (TypeError, ValueError):  # two words, or one that is no number
            given[name] = option
    if args.folder:
        layout = find_layout(args.folder, args.layout, args.class_attribute)
        origin = f"{args.folder} is {layout.name}"
        parts = _assign(layout.read(), given, sizes)
    elif args.voc:
        origin = f"{args.voc} is VOC"
        image_sets = {name: option[0] for name, option in given.items()}
        parts = read_voc_parts(args.voc, {**image_sets, "train": args.train})
    else:
        origin = f"{args.coco[0]} is COCO"
        # The images of a JSON file without a folder are in the folder of the training images.
        files = {
            name: (option[0], [args.coco[1], *option[1:]][-1]) for name, option in given.items()
        }
        files["train"] = args.coco
        parts = {name: coco_part(*pair) for name, pair in files.items()}
        check_categories({files[name][0]: part.coco for name, part in parts.items()})
    if args.folds:
        parts = {"train": merged(list(parts.values()))}
        sizes = {"archval": sizes.get("archval")}
    held_out = [(name, size) for name, size in sizes.items() if name not in parts]
    return parts, [pair for pair in held_out if pair != ("test", 0)], origin


def _assign(
    found: Mapping[str, Part],
    given: Mapping[str, Sequence[str]],
    sizes: Mapping[str, float | None],
) -> dict[str, Part]:
    """Return the parts of a folder under the names that they have here."""
    names = {part: option[0] for part, option in given.items()}
    for part, name in names.items():
        if name not in found:
            raise ValueError(
                f"--{part} is {name}; expected a size, or one of the folder's parts: "
                f"{', '.join(found)}."
            )
    for part in ("test", "archval"):
        # Without a test set, val is what the user measures with.
        wanted = [name for name in ("test", "val") if part == "test" or name == "val"]
        free = [name for name in wanted if name in found and name not in names.values()]
        if part in sizes and sizes[part] is None and free and len(found) > 1:
            names[part] = free[0]
    rest = [part for name, part in found.items() if name not in names.values()]
    if not rest:
        raise ValueError(f"No part is left to train on: {', '.join(found)} are test and archval.")
    return {part: found[names[part]] for part in ("test", "archval") if part in names} | {
        "train": merged(rest)
    }


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
    sources = {
        name: {f"{len(some)} files of Annotations, by name or image set": sha256(*some)}
        for name, some in files.items()
    }
    return {
        name: replace(voc_part(some, folder, names), sources=sources[name])
        for name, some in files.items()
    }


def change_classes(parts: Mapping[str, Part], changes: Mapping[str, str]) -> dict[str, Part]:
    """Rename classes, merge those that get one name, and drop the objects of others.

    Args:
        changes: new names by old ones; an empty one drops a class.

    Raises:
        ValueError: no part has such a class, or none is left.
    """
    if not changes:
        return dict(parts)
    categories = next(iter(parts.values())).coco["categories"]
    names = [category["name"] for category in categories]
    for old in changes:
        if old not in names:
            raise ValueError(
                f"--class names '{old}', which is no class.{did_you_mean(old, names)} The classes "
                f"are {', '.join(names)}."
            )
    kept: dict[str | int, Record] = {}
    new_ids: dict[int, int] = {}
    for category in categories:
        if name := changes.get(category["name"], category["name"]):
            # Of two classes of one name that no change names, the check speaks.
            key = name if name in changes.values() else category["id"]
            first = kept.setdefault(key, {**category, "name": name})
            new_ids[category["id"]] = first["id"]
    if not kept:
        raise ValueError(f"--class drops all classes: {', '.join(names)}.")
    dropped = {category["id"] for category in categories} - new_ids.keys()
    return {
        part: replace(
            its,
            coco={
                **its.coco,
                "categories": list(kept.values()),
                "annotations": [
                    {**a, "category_id": new_ids.get(a["category_id"], a["category_id"])}
                    for a in its.coco["annotations"]
                    if a["category_id"] not in dropped
                ],
            },
        )
        for part, its in parts.items()
    }


def merged(parts: Sequence[Part]) -> Part:
    """Return the images of parts of one folder as one part, numbered anew."""
    first, *others = parts
    coco = {**first.coco, "images": list(first.coco["images"])}
    coco["annotations"] = list(first.coco["annotations"])
    findings = {kind: list(places) for kind, places in first.findings.items()}
    for part in others:
        start = max((image["id"] for image in coco["images"]), default=0) + 1
        ids = {image["id"]: start + n for n, image in enumerate(part.coco["images"])}
        coco["images"] += [{**image, "id": ids[image["id"]]} for image in part.coco["images"]]
        coco["annotations"] += [
            {**a, "image_id": ids.get(a["image_id"], a["image_id"])}
            for a in part.coco["annotations"]
        ]
        for kind, places in part.findings.items():
            findings.setdefault(kind, []).extend(places)
    if others:
        coco["annotations"] = [{**a, "id": n} for n, a in enumerate(coco["annotations"], start=1)]
    sources = {file: digest for part in parts for file, digest in part.sources.items()}
    return Part(coco, first.image_root, sources, findings)
