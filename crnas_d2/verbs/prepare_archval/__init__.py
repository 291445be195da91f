"""Hold images out of a training set: archval, to search on.

The rest becomes archtrain, to train the supernet on. Images of the same content stay in archtrain,
so that no image is in both.
The papers' presets read and write below $DETECTRON2_DATASETS (default: ./datasets):
coco2017 (CR-NAS, DetNAS), voc0712 (DetNAS), nats-coco2014 (NATS). See docs/DATASETS.md.
"""

import argparse
import os
from pathlib import Path

from crnas_d2.common.digests import sha256
from crnas_d2.data.annotations.coco import Record, missing_categories, read_coco, save_files
from crnas_d2.data.annotations.splits import split_coco

from .paper_splits import DIVISIONS, HELD_OUT, SELECTIONS, Source


def add_arguments(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--preset", choices=[*DIVISIONS, *SELECTIONS])
    source.add_argument("--json", type=Path, metavar="FILE", help="any file in COCO format")
    parser.add_argument(
        "--images",
        type=Path,
        metavar="DIR",
        help="with --json: the folder of the images, to compare them (default: they are not)",
    )
    parser.add_argument(
        "--archval",
        type=float,
        metavar="SIZE",
        help=f"images to hold out, or a fraction below 1 (default of the presets: {HELD_OUT})",
    )
    parser.add_argument("--seed", type=int, help="of the split (default: 0)")
    parser.add_argument(
        "--stratify",
        action="store_true",
        help="split the images of each category in proportion (default: at random, as the papers)",
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="with --json (default: beside it)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that differ")


def run(args: argparse.Namespace) -> None:
    _check(args)
    root = Path(os.getenv("DETECTRON2_DATASETS", "datasets")).expanduser()
    if args.preset in SELECTIONS:
        files = SELECTIONS[args.preset](root)
        if not args.overwrite:
            files = _without_published(files)
        _save(files, args.overwrite)
        return
    if args.json:
        folder = args.output or args.json.parent
        source = Source(
            read_coco(args.json),
            {args.json.name: sha256(args.json)},
            lambda part: folder / f"{args.json.stem}_{part}.json",
            args.images,
            args.images,
        )
    else:
        source = DIVISIONS[args.preset](root)
    compares = source.images is not None and source.images.is_dir()
    if not compares:
        why = f"{source.images} does not exist"
        if args.json:
            why = "--images DIR keeps those of the same content together"
        print(f"Images are not compared: {why}.")
    archtrain, archval = split_coco(
        source.coco,
        HELD_OUT if args.archval is None else args.archval,
        seed=args.seed or 0,
        stratify=args.stratify,
        sources=source.files,
        image_root=source.image_root if compares else None,
    )
    parts = {"archtrain": archtrain, "archval": archval}
    _save({source.target(name): part for name, part in parts.items()}, args.overwrite)
    if twins := archval["info"]["split"].get("images_with_a_twin"):
        print(f"{twins} images have the content of another one: all of them are in archtrain.")
    if missing := missing_categories(archval, [archtrain]):
        print(f"No object in archval, so not scored by a search: {', '.join(missing)}")


def _check(args: argparse.Namespace) -> None:
    if args.preset and args.output:
        args.refuse("--output goes with --json; a preset writes below DETECTRON2_DATASETS")
    if args.preset and args.images:
        args.refuse("--images goes with --json; a preset knows the folder of its images")
    if args.images and not args.images.is_dir():
        args.refuse(f"--images is {args.images}, which is no folder")
    if args.json and args.archval is None:
        args.refuse("--json needs --archval, the size of the part that is held out")
    if args.preset in SELECTIONS and (args.archval or args.stratify or args.seed is not None):
        args.refuse(f"{args.preset} is a fixed list: --archval, --seed, --stratify do not apply")


def _without_published(files: dict[Path, Record]) -> dict[Path, Record]:
    """Leave out files that already exist with the same images, so that published ones are kept."""
    rest = {}
    for path, content in files.items():
        ids = {image["id"] for image in content["images"]}
        if path.exists() and {image["id"] for image in read_coco(path)["images"]} == ids:
            print(f"{path}: exists already with these {len(ids)} images")
        else:
            rest[path] = content
    return rest


def _save(files: dict[Path, Record], overwrite: bool) -> None:
    written = save_files(files, overwrite=overwrite)
    for path, content in files.items():
        counts = f"{len(content['images'])} images, {len(content['annotations'])} annotations"
        print(f"{path}: {counts}" + ("" if written[path] else "; exists already, identical"))
