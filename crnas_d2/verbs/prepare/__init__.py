"""Check your own annotations, split them, and write configs to start from.

  NAME FOLDER --output DIR                            the layout is recognized: YOLO, VOC, COCO, ...
  NAME --coco annotations.json images/ --output DIR   where it is not, or not all is meant
  NAME --voc FOLDER --output DIR
  NAME FOLDER --check                                 only the check: exit status 1 if it refuses

PART in --archval and --test is a fraction below 1 or a number of images, held out of the training
images and stratified by category (test first, archval out of the rest); or an existing part: one of
the folder (train, val, test), a JSON file and its image folder, or the name of a VOC image set.
"""

import argparse
import re
from pathlib import Path

from detectron2.data import DatasetCatalog

from crnas_d2.data.annotations.coco import missing_categories
from crnas_d2.data.annotations.faults import KINDS
from crnas_d2.data.annotations.groups import Groups
from crnas_d2.data.annotations.part import Part
from crnas_d2.data.layouts import LAYOUT_REGISTRY
from crnas_d2.verbs.arguments import positive_int

from .annotation_report import Report
from .choose_recipe import choose_recipe, read_start
from .look import write_look
from .parts import check_parts, divide, divide_folds, likely_typos
from .read_parts import change_classes, read_parts
from .recipe import DEVICES, PRESETS
from .statistics import Statistics
from .write_dataset import print_estimates, write_dataset

_LOOK = "look.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the parts become NAME_archtrain and so on")
    parser.add_argument("folder", nargs="?", metavar="FOLDER", help="of images and annotations")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--layout", choices=LAYOUT_REGISTRY.names, help="of FOLDER")
    parser.add_argument(
        "--class-attribute", default="", metavar="NAME", help="VIA: the class of a region"
    )
    source.add_argument("--coco", nargs=2, metavar=("JSON", "IMAGES"))
    source.add_argument("--voc", metavar="FOLDER", help="Annotations/, JPEGImages/, ImageSets/")
    parser.add_argument("--output", type=Path, metavar="DIR", help="needed without --check")
    parser.add_argument("--check", action="store_true", help="check the data, and write look.html")
    parser.add_argument(
        "--archval",
        nargs="+",
        metavar="PART",
        help="default: the folder's val beside its test; else 0.2; for small datasets 100 images, "
        "at most a third",
    )
    parser.add_argument(
        "--test",
        nargs="+",
        metavar="PART",
        help="default: the folder's test, or else its val; else 0.2; 0: none",
    )
    parser.add_argument(
        "--accept",
        nargs="+",
        default=[],
        choices=sorted({kind.accept for kind in KINDS.values() if kind.accept}),
        metavar="KIND",
        help="what looks like a mistake, but is meant: the check names the kind",
    )
    parser.add_argument(
        "--class",
        dest="classes",
        action="append",
        default=[],
        metavar="OLD=NEW",
        help="rename a class; two that get one name are merged; OLD= drops the objects of a class",
    )
    parser.add_argument(
        "--group",
        metavar="PATTERN",
        help="regular expression in the paths of images; those with one first group, e.g. a "
        "patient or site, stay in one part (default: frames of one video, by name)",
    )
    parser.add_argument(
        "--depth-range",
        nargs=2,
        type=float,
        default=(),
        metavar=("LOW", "HIGH"),
        help="values that become black and white in images of more than 8 bits per channel",
    )
    parser.add_argument(
        "--train", metavar="SET", help="VOC: the image set to train on (default: all the others)"
    )
    parser.add_argument(
        "--preset",
        choices=PRESETS,
        default="quick",
        help="quick: about an hour; standard: a sound training; paper: sizes and schedules of the "
        "papers (default: quick)",
    )
    parser.add_argument(
        "--device", choices=DEVICES, default="", help="default: gpu if this machine has one"
    )
    parser.add_argument(
        "--weights",
        default="",
        metavar="FILE",
        help="weights of a ResNet-50 to start from, instead of a download (gpu) or those of "
        "crnas-d2[weights] (cpu)",
    )
    parser.add_argument(
        "--weights-config",
        default="",
        metavar="FILE",
        help="the config with which --weights were trained (default: config.yaml beside them)",
    )
    parser.add_argument(
        "--folds",
        type=positive_int,
        default=0,
        metavar="K",
        help="for few images: K datasets, fold1 and so on, whose test sets are K parts of all "
        "images, so that each is tested once",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the split (default: 0)")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace annotations and data.yaml"
    )


def run(args: argparse.Namespace) -> None:
    """Read, check and split the data; choose a recipe; write all files; estimate what they take."""
    _check(args)
    start = None if args.check else read_start(args.weights, args.weights_config)
    parts, held_out, origin = read_parts(args)
    print(f"{origin}: " + "; ".join(f"{name}, {part}" for name, part in parts.items()))
    parts = change_classes(parts, dict(args.classes))
    parts, reports, groups = check_parts(
        parts, accepted=args.accept, group=args.group, is_scaled=bool(args.depth_range)
    )
    _print_reports(parts, reports, groups)
    refused = [f"{kind} ({name})" for name, report in reports.items() for kind in report.refused]
    if args.output and (args.check or refused):
        _write_look(args, parts, reports)
    if refused:
        raise ValueError(f"No dataset was written; fix this first: {', '.join(refused)}.")
    if args.check:
        print("\nNothing is refused.")
        return
    if args.folds:
        folds = divide_folds(parts["train"], args.folds, held_out, args.seed, groups)
        named = {f"fold{n}": fold for n, fold in enumerate(folds, start=1)}
    else:
        named = {"": divide(parts, held_out, args.seed, groups)}
    first, *_ = named.values()
    recipe = choose_recipe(
        Statistics.of([first[name].coco for name in ("archtrain", "archval")]),
        first["archtrain"].num_images,
        preset=args.preset,
        device=args.device,
        start=start,
        depth_range=args.depth_range,
    )
    print()
    for fold, its in named.items():
        name = f"{args.name}_{fold}" if fold else args.name
        write_dataset(name, args.output / fold, its, reports, recipe, overwrite=args.overwrite)
    _write_look(args, parts, reports)
    _print_notes(first)
    print_estimates(recipe, args.output, list(named), first["archval"].num_images)


def _check(args: argparse.Namespace) -> None:
    if not re.fullmatch(r"[\w-]+", args.name):
        args.refuse(f"NAME is '{args.name}'; expected letters, digits, _ and -")
    if f"{args.name}_archtrain" in DatasetCatalog:
        args.refuse(f"NAME is '{args.name}', but this dataset exists already; choose another")
    if bool(args.folder) + bool(args.coco) + bool(args.voc) != 1:
        args.refuse("expected one of FOLDER, --coco JSON IMAGES and --voc FOLDER")
    if not args.output and not args.check:
        args.refuse("--output DIR is needed, unless the data are only checked (--check)")
    if args.train and not args.voc:
        args.refuse("--train goes with --voc; a COCO file is the whole training set")
    if args.weights_config and not args.weights:
        args.refuse("--weights-config goes with --weights")
    for option in (args.archval, args.test):
        if option and len(option) > (2 if args.coco else 1):
            expected = "a size or JSON IMAGES" if args.coco else "a size or the name of a part"
            args.refuse(f"a PART is {' '.join(option)}; expected {expected}")
    if args.folds == 1:
        args.refuse("--folds is 1; expected 2 or more")
    if args.folds and (args.test or args.train):
        args.refuse("--folds tests every image once: leave out --test and --train")
    if args.depth_range and not args.depth_range[0] < args.depth_range[1]:
        args.refuse("--depth-range LOW HIGH: LOW must be less than HIGH")
    for pair in args.classes:
        if "=" not in pair:
            args.refuse(f"--class is '{pair}'; expected OLD=NEW, or OLD= to drop a class")
    args.classes = [(old, new.strip()) for old, new in (p.split("=", 1) for p in args.classes)]
    names = [old for old, _ in args.classes]
    if twice := [old for old in names if names.count(old) > 1]:
        args.refuse(f"--class names '{twice[0]}' twice")


def _write_look(
    args: argparse.Namespace, parts: dict[str, Part], reports: dict[str, Report]
) -> None:
    file = args.output / _LOOK
    args.output.mkdir(parents=True, exist_ok=True)
    write_look(file, args.name, parts, reports, args.depth_range)
    print(f"  {file} shows the objects, and each fault in its image.")


def _print_reports(parts: dict[str, Part], reports: dict[str, Report], groups: Groups) -> None:
    for name, report in reports.items():
        print(f"\n{name}: {parts[name]}\n{report.table()}")
    if groups.counts:
        print("\nKept in one part: ", end="")
        print(", ".join(f"{count} {reason}" for reason, count in groups.counts.items()))
    objects = [a for part in parts.values() for a in part.coco["annotations"]]
    for key, words, setting in (
        ("segmentation", "masks", "MODEL.MASK_ON"),
        ("keypoints", "key points", "MODEL.KEYPOINT_ON"),
    ):
        if count := sum(bool(annotation.get(key)) for annotation in objects):
            print(
                f"{count:,} of {len(objects):,} objects have {words} ({setting} True trains them)"
            )


def _print_notes(parts: dict[str, Part]) -> None:
    cocos = [part.coco for part in parts.values()]
    if missing := missing_categories(parts["archval"].coco, cocos):
        print(f"No object in archval, so not scored by a search: {', '.join(missing)}")
    if typos := likely_typos(cocos):
        print(
            f"WARNING: classes that look like a typo of another one: {', '.join(typos)}. Correct "
            "the annotations and prepare them again, unless these are right."
        )
